// The ABI face of the recogniser: config, parameters and frames in, results out. Knows PocketSphinx
// only through recognizer.h.
#include "loader/wrapper.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "../common/entry.hpp"
#include "../common/flat_json.hpp"
#include "recognizer.h"

namespace {

constexpr int64_t kSampleRate = 16000;

constexpr char kDescription[] = R"({
  "inputs": [{"key": "audio", "type": "audio", "required": true,
              "attributes": {"encoding": "pcm_s16le", "rate": "16000", "channels": "1"},
              "description": "16-bit little-endian mono PCM, 16 kHz, in pieces of any size"}],
  "outputs": [
    {"key": "partial", "type": "text", "description": "the hypothesis so far, when it changed"},
    {"key": "segment", "type": "text", "description": "what was said between two silences"},
    {"key": "words", "type": "json", "description": "[{word, start_s, end_s, confidence}]"},
    {"key": "text", "type": "text", "description": "the whole text, once, at the end"}],
  "parameters": [{"name": "sample_rate", "type": "integer", "default": 16000,
                  "minimum": 16000, "maximum": 16000},
                 {"name": "partials", "type": "boolean", "default": true}],
  "properties": {"deterministic": true, "slots_fixed": false}
})";

struct Engine {
  Engine(const loader_host_t* its_host, asr::ModelFiles files)
      : host(its_host), pool(std::move(files)) {}

  const loader_host_t* host;
  asr::DecoderPool pool;
};

struct Session {
  Session(Engine& its_engine, loader_handle_t its_handle)
      : engine(its_engine), handle(its_handle), recognizer(its_engine.pool) {}

  Engine& engine;
  loader_handle_t handle;
  asr::Recognizer recognizer;
  bool wants_partials = true;
  bool has_odd_byte = false;
  uint8_t odd_byte = 0;
  std::string text;
  std::string words;
};

void release_string(loader_buffer_t* buffer) {
  delete static_cast<std::string*>(buffer->private_data);
  buffer->release = nullptr;
}

loader_item_t text_item(std::string_view key, std::string_view text, uint32_t type,
                        uint32_t status) {
  auto owned = std::make_unique<std::string>(text);
  loader_item_t item{};
  item.key = {key.data(), key.size()};
  item.type = type;
  item.status = status;
  item.data = {reinterpret_cast<const uint8_t*>(owned->data()), owned->size(), release_string,
               owned.get()};
  static_cast<void>(owned.release());  // the buffer's `release` deletes it
  return item;
}

loader_status_t emit(const Session& session, std::span<loader_item_t> items) {
  loader_frame_t frame{};
  frame.struct_size = sizeof(frame);
  frame.item_size = sizeof(loader_item_t);
  frame.item_count = static_cast<uint32_t>(items.size());
  frame.position = static_cast<int64_t>(session.recognizer.samples());
  frame.items = items.data();
  const loader_host_t& host = *session.engine.host;
  const loader_status_t status = host.emit(host.host, session.handle, &frame, 0);
  if (status == LOADER_OK) return status;
  for (loader_item_t& item : items) {
    if (item.data.release != nullptr) item.data.release(&item.data);
  }
  return status;
}

std::string words_json(const std::vector<asr::Word>& words) {
  std::string out;
  std::array<char, 96> numbers{};
  for (const asr::Word& word : words) {
    std::snprintf(numbers.data(), numbers.size(),
                  R"("start_s": %.2f, "end_s": %.2f, "confidence": %.3f})", word.start_s,
                  word.end_s, word.confidence);
    out += out.empty() ? "" : ", ";
    out += "{\"word\": " + flat_json::quote(word.text) + ", " + numbers.data();
  }
  return out;
}

void remember(Session& session, const asr::Segment& segment, const std::string& words) {
  session.text += (session.text.empty() ? "" : " ") + segment.text;
  session.words += (session.words.empty() ? "" : ", ") + words;
}

loader_status_t emit_segment(Session& session, const asr::Segment& segment) {
  if (segment.words.empty()) return LOADER_OK;
  const std::string words = words_json(segment.words);
  remember(session, segment, words);
  std::array items{text_item("segment", segment.text, LOADER_ITEM_TEXT, LOADER_STATUS_CONTINUE),
                   text_item("words", "[" + words + "]", LOADER_ITEM_JSON, LOADER_STATUS_CONTINUE)};
  return emit(session, items);
}

loader_status_t recognise(Session& session, std::span<const int16_t> samples) {
  const asr::Recognizer::Update update = session.recognizer.accept(samples);
  for (const asr::Segment& segment : update.segments) {
    const loader_status_t status = emit_segment(session, segment);
    if (status != LOADER_OK) return status;
  }
  if (update.partial.empty() || !session.wants_partials) return LOADER_OK;
  std::array items{text_item("partial", update.partial, LOADER_ITEM_TEXT, LOADER_STATUS_CONTINUE)};
  return emit(session, items);
}

// Pieces may cut a sample in two: the odd byte waits for the next piece.
std::vector<int16_t> to_samples(Session& session, const loader_buffer_t& data) {
  std::vector<uint8_t> bytes;
  bytes.reserve(data.size + 1);
  if (session.has_odd_byte) bytes.push_back(session.odd_byte);
  bytes.insert(bytes.end(), data.data, data.data + data.size);
  session.has_odd_byte = bytes.size() % 2 != 0;
  if (session.has_odd_byte) session.odd_byte = bytes.back();
  std::vector<int16_t> samples(bytes.size() / 2);
  std::memcpy(samples.data(), bytes.data(), samples.size() * 2);
  return samples;
}

std::string setting(const loader_config_t& config, std::string_view key, std::string fallback) {
  const auto raw = flat_json::member(view(config.json), key);
  if (!raw) return fallback;
  const auto text = flat_json::to_string(*raw);
  if (!text) {
    throw std::runtime_error("config." + std::string(key) + " is " + std::string(*raw) +
                             ": give a string");
  }
  return *text;
}

asr::ModelFiles model_files(const loader_config_t& config) {
  const std::string directory = setting(config, "model_directory", ASR_MODEL_DIRECTORY);
  return {setting(config, "acoustic_model", directory + "/en-us/en-us"),
          setting(config, "language_model", directory + "/en-us/en-us.lm.bin"),
          setting(config, "dictionary", directory + "/en-us/cmudict-en-us.dict")};
}

const char* describe() {
  return kDescription;
}

loader_status_t init(const loader_host_t* host, const loader_config_t* config, void** instance,
                     loader_error_t* error) {
  return guarded(error, [&] {
    auto engine = std::make_unique<Engine>(host, model_files(*config));
    const auto preload = flat_json::member(view(config->json), "preload");
    const int64_t count = preload ? flat_json::to_integer(*preload).value_or(1) : 1;
    engine->pool.preload(static_cast<size_t>(std::clamp<int64_t>(count, 1, config->slots)));
    *instance = engine.release();
    return LOADER_OK;
  });
}

void fini(void* instance) {
  delete static_cast<Engine*>(instance);
}

void apply_parameter(Session& session, std::string_view key, std::string_view value) {
  if (key == "sample_rate" && flat_json::to_integer(value) != kSampleRate) {
    throw std::invalid_argument("sample_rate is " + std::string(value) +
                                ": this model hears 16000 only; resample first");
  }
  if (key == "partials") session.wants_partials = value == "true";
}

loader_status_t create(void* instance, loader_handle_t handle, const loader_open_t* open,
                       void** out, loader_error_t* error) {
  return guarded(error, [&] {
    auto session = std::make_unique<Session>(*static_cast<Engine*>(instance), handle);
    for (uint32_t i = 0; i < open->parameter_count; ++i) {
      apply_parameter(*session, view(open->parameters[i].key), view(open->parameters[i].value));
    }
    *out = session.release();
    return LOADER_OK;
  });
}

loader_status_t write(void* opaque, loader_handle_t, loader_frame_t* frame, loader_error_t* error) {
  return guarded(error, [&] {
    auto& session = *static_cast<Session*>(opaque);
    const auto* bytes = reinterpret_cast<const uint8_t*>(frame->items);
    for (uint32_t i = 0; i < frame->item_count; ++i, bytes += frame->item_size) {
      const auto& item = *reinterpret_cast<const loader_item_t*>(bytes);
      if (view(item.key) != "audio") {
        throw std::invalid_argument("item \"" + std::string(view(item.key)) +
                                    "\" is unknown: send PCM under the key \"audio\"");
      }
      const loader_status_t status = recognise(session, to_samples(session, item.data));
      if (status != LOADER_OK) return status;
    }
    return static_cast<loader_status_t>(LOADER_OK);
  });
}

loader_status_t end(void* opaque, loader_handle_t, loader_error_t* error) {
  return guarded(error, [&] {
    auto& session = *static_cast<Session*>(opaque);
    for (const asr::Segment& segment : session.recognizer.finish()) {
      remember(session, segment, words_json(segment.words));
    }
    std::array items{
        text_item("text", session.text, LOADER_ITEM_TEXT, LOADER_STATUS_END),
        text_item("words", "[" + session.words + "]", LOADER_ITEM_JSON, LOADER_STATUS_END)};
    return emit(session, items);
  });
}

void destroy(void* session, int32_t) {
  delete static_cast<Session*>(session);
}

}  // namespace

extern "C" const loader_wrapper_t* loader_wrapper(void) {
  static constexpr loader_wrapper_t kTable = {LOADER_ABI_MAJOR,
                                              LOADER_ABI_MINOR,
                                              sizeof(loader_wrapper_t),
                                              0,
                                              "asr_pocketsphinx",
                                              "1.0.0",
                                              describe,
                                              init,
                                              fini,
                                              nullptr,
                                              create,
                                              write,
                                              end,
                                              nullptr,
                                              destroy,
                                              nullptr};
  return &kTable;
}
