// Streaming recognition with PocketSphinx: samples in, partial hypotheses and segments out.
// Knows nothing of the loader.
#pragma once

#include <pocketsphinx.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace asr {

struct Word {
  std::string text;
  double start_s;
  double end_s;
  double confidence;
};

// What one span of speech between silences said.
struct Segment {
  std::string text;
  std::vector<Word> words;
};

struct ModelFiles {
  std::string acoustic_model;
  std::string language_model;
  std::string dictionary;
};

struct DecoderFree {
  void operator()(ps_decoder_t* decoder) const noexcept { ps_free(decoder); }
};
using Decoder = std::unique_ptr<ps_decoder_t, DecoderFree>;

// Loaded decoders that no session uses now. One takes about a second to load, hence the pool.
// Thread-safe.
class DecoderPool {
 public:
  explicit DecoderPool(ModelFiles files) : files_(std::move(files)) {}

  // Throws std::runtime_error, naming the files, when they cannot be loaded.
  void preload(size_t count);
  Decoder acquire();
  void release(Decoder decoder) noexcept;

 private:
  Decoder load() const;

  ModelFiles files_;
  std::mutex mutex_;
  std::vector<Decoder> idle_;
};

// One stream of 16 kHz mono PCM. Not thread-safe.
class Recognizer {
 public:
  explicit Recognizer(DecoderPool& pool);
  ~Recognizer();
  Recognizer(const Recognizer&) = delete;
  Recognizer& operator=(const Recognizer&) = delete;

  struct Update {
    std::string partial;            // the new hypothesis; empty: it did not change
    std::vector<Segment> segments;  // those that a silence ended
  };
  Update accept(std::span<const int16_t> samples);
  // Ends the last span of speech.
  std::vector<Segment> finish();
  uint64_t samples() const { return samples_; }

 private:
  void start_utterance();
  Segment end_utterance();
  Segment read_segment() const;

  DecoderPool& pool_;
  Decoder decoder_;
  bool is_open_ = false;
  bool heard_speech_ = false;
  uint64_t samples_ = 0;
  std::string partial_;
};

}  // namespace asr
