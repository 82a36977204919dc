// Implements recognizer.h on the PocketSphinx C API (5prealpha, as Debian packages it).
#include "recognizer.h"

#include <err.h>  // sphinxbase's

#include <algorithm>
#include <stdexcept>

namespace asr {
namespace {

constexpr double kFramesPerSecond = 100.0;
// The recogniser looks for silence between blocks, so a block must be short beside a pause.
constexpr size_t kBlockSamples = 1600;

// "ten(2)" is the second pronunciation of "ten"; "<s>", "[NOISE]" and the like are no words.
std::string plain_word(const char* raw) {
  std::string word = raw;
  if (word.empty() || word[0] == '<' || word[0] == '[' || word[0] == '+') return {};
  if (const size_t variant = word.find('('); variant != std::string::npos) word.resize(variant);
  return word;
}

}  // namespace

Decoder DecoderPool::load() const {
  err_set_logfp(nullptr);
  cmd_ln_t* config = cmd_ln_init(nullptr, ps_args(), TRUE, "-hmm", files_.acoustic_model.c_str(),
                                 "-lm", files_.language_model.c_str(), "-dict",
                                 files_.dictionary.c_str(), static_cast<const char*>(nullptr));
  if (config == nullptr) throw std::runtime_error("PocketSphinx refused its configuration");
  Decoder decoder(ps_init(config));
  cmd_ln_free_r(config);
  if (!decoder) {
    throw std::runtime_error("PocketSphinx could not load " + files_.acoustic_model + ", " +
                             files_.language_model + ", " + files_.dictionary +
                             ": install pocketsphinx-en-us or set model_directory");
  }
  return decoder;
}

void DecoderPool::preload(size_t count) {
  for (size_t i = 0; i < count; ++i) release(load());
}

Decoder DecoderPool::acquire() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      Decoder decoder = std::move(idle_.back());
      idle_.pop_back();
      return decoder;
    }
  }
  return load();
}

void DecoderPool::release(Decoder decoder) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(decoder));
  } catch (...) {  // no memory for the list: the decoder is freed instead
  }
}

Recognizer::Recognizer(DecoderPool& pool) : pool_(pool), decoder_(pool.acquire()) {
  ps_start_stream(decoder_.get());
  start_utterance();
}

Recognizer::~Recognizer() {
  if (is_open_) ps_end_utt(decoder_.get());
  pool_.release(std::move(decoder_));
}

void Recognizer::start_utterance() {
  if (ps_start_utt(decoder_.get()) < 0) throw std::runtime_error("ps_start_utt failed");
  is_open_ = true;
  heard_speech_ = false;
  partial_.clear();
}

Recognizer::Update Recognizer::accept(std::span<const int16_t> samples) {
  Update update;
  while (!samples.empty()) {
    const auto block = samples.first(std::min(samples.size(), kBlockSamples));
    samples = samples.subspan(block.size());
    if (ps_process_raw(decoder_.get(), block.data(), block.size(), FALSE, FALSE) < 0) {
      throw std::runtime_error("ps_process_raw failed");
    }
    samples_ += block.size();
    const bool is_speech = ps_get_in_speech(decoder_.get()) != 0;
    if (heard_speech_ && !is_speech) {
      update.segments.push_back(end_utterance());
      start_utterance();
    }
    heard_speech_ = heard_speech_ || is_speech;
  }
  const char* hypothesis = ps_get_hyp(decoder_.get(), nullptr);
  if (hypothesis != nullptr && partial_ != hypothesis) update.partial = partial_ = hypothesis;
  return update;
}

std::vector<Segment> Recognizer::finish() {
  std::vector<Segment> segments;
  Segment last = end_utterance();
  if (!last.words.empty()) segments.push_back(std::move(last));
  return segments;
}

Segment Recognizer::end_utterance() {
  is_open_ = false;
  if (ps_end_utt(decoder_.get()) < 0) throw std::runtime_error("ps_end_utt failed");
  return read_segment();
}

Segment Recognizer::read_segment() const {
  Segment segment;
  logmath_t* const logmath = ps_get_logmath(decoder_.get());
  for (ps_seg_t* seg = ps_seg_iter(decoder_.get()); seg != nullptr; seg = ps_seg_next(seg)) {
    const std::string word = plain_word(ps_seg_word(seg));
    if (word.empty()) continue;
    int first = 0;
    int last = 0;
    ps_seg_frames(seg, &first, &last);
    const double confidence = logmath_exp(logmath, ps_seg_prob(seg, nullptr, nullptr, nullptr));
    segment.words.push_back({word, first / kFramesPerSecond, (last + 1) / kFramesPerSecond,
                             std::clamp(confidence, 0.0, 1.0)});
    segment.text += (segment.text.empty() ? "" : " ") + word;
  }
  return segment;
}

}  // namespace asr
