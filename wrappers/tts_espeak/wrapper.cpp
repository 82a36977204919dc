// The ABI face of the synthesizer: exec takes a text and emits chunks of audio as they are made.
// Knows eSpeak NG only through synthesizer.h.
#include "loader/wrapper.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "../common/entry.hpp"
#include "../common/flat_json.hpp"
#include "synthesizer.h"

namespace {

constexpr char kDescription[] = R"({
  "inputs": [{"key": "text", "type": "text", "required": true}],
  "outputs": [{"key": "audio", "type": "audio",
               "description": "16-bit little-endian mono PCM; attributes: encoding, rate, channels"}],
  "parameters": [
    {"name": "voice", "type": "string", "default": "en"},
    {"name": "rate_wpm", "type": "integer", "default": 175, "minimum": 80, "maximum": 450},
    {"name": "pitch", "type": "integer", "default": 50, "minimum": 0, "maximum": 99},
    {"name": "volume", "type": "integer", "default": 100, "minimum": 0, "maximum": 200}],
  "properties": {"deterministic": false, "slots_fixed": true}
})";

constexpr int64_t kDefaultChunkMs = 100;

struct Engine {
  Engine(const loader_host_t* its_host, const std::string& data_directory, int chunk_ms)
      : host(its_host),
        synthesizer(data_directory, chunk_ms),
        sample_rate(std::to_string(synthesizer.sample_rate())) {}

  const loader_host_t* host;
  tts::Synthesizer synthesizer;
  std::string sample_rate;
};

loader_string_t text(std::string_view value) {
  return {value.data(), value.size()};
}

// One chunk, written once into memory shared with the loader.
class ChunkEmitter {
 public:
  ChunkEmitter(const Engine& engine, loader_handle_t call) : engine_(engine), call_(call) {}

  loader_status_t emit(std::span<const int16_t> samples, bool is_last) {
    const loader_host_t& host = *engine_.host;
    if (host.is_cancelled(host.host, call_) != 0) return LOADER_ERROR_CLOSED;
    loader_buffer_t buffer{};
    uint8_t* writable = nullptr;
    loader_status_t status =
        host.alloc_result(host.host, call_, samples.size_bytes(), &buffer, &writable);
    if (status != LOADER_OK) return status;
    if (!samples.empty()) std::memcpy(writable, samples.data(), samples.size_bytes());
    status = emit_buffer(buffer, is_last);
    return status;
  }

 private:
  loader_status_t emit_buffer(loader_buffer_t buffer, bool is_last) {
    const std::array attributes{loader_pair_t{text("encoding"), text("pcm_s16le")},
                                loader_pair_t{text("rate"), text(engine_.sample_rate)},
                                loader_pair_t{text("channels"), text("1")}};
    loader_item_t item{};
    item.key = text("audio");
    item.type = LOADER_ITEM_AUDIO;
    item.status = is_last ? LOADER_STATUS_END : LOADER_STATUS_CONTINUE;
    item.data = buffer;
    item.attributes = attributes.data();
    item.attribute_count = attributes.size();
    loader_frame_t frame{sizeof(frame), sizeof(item), 1, 0, 0, -1, &item};
    const loader_status_t status = engine_.host->emit(engine_.host->host, call_, &frame, 0);
    if (status != LOADER_OK && item.data.release != nullptr) item.data.release(&item.data);
    return status;
  }

  const Engine& engine_;
  loader_handle_t call_;
};

int integer(std::string_view name, std::string_view value, int low, int high) {
  const auto number = flat_json::to_integer(value);
  if (number && *number >= low && *number <= high) return static_cast<int>(*number);
  throw std::invalid_argument(std::string(name) + " is " + std::string(value) + ": give " +
                              std::to_string(low) + " to " + std::to_string(high));
}

void apply_parameter(tts::Request& request, std::string_view name, std::string_view value) {
  if (name == "voice") request.voice = flat_json::to_string(value).value_or(std::string(value));
  if (name == "rate_wpm") request.rate_wpm = integer(name, value, 80, 450);
  if (name == "pitch") request.pitch = integer(name, value, 0, 99);
  if (name == "volume") request.volume = integer(name, value, 0, 200);
}

tts::Request read_request(const loader_open_t& open, const loader_frame_t& frame) {
  tts::Request request;
  for (uint32_t i = 0; i < open.parameter_count; ++i) {
    apply_parameter(request, view(open.parameters[i].key), view(open.parameters[i].value));
  }
  const auto* bytes = reinterpret_cast<const uint8_t*>(frame.items);
  for (uint32_t i = 0; i < frame.item_count; ++i, bytes += frame.item_size) {
    const auto& item = *reinterpret_cast<const loader_item_t*>(bytes);
    if (view(item.key) != "text") continue;
    request.text.append(reinterpret_cast<const char*>(item.data.data), item.data.size);
  }
  if (request.text.empty()) throw std::invalid_argument("no text: send it under the key \"text\"");
  return request;
}

const char* describe() {
  return kDescription;
}

loader_status_t init(const loader_host_t* host, const loader_config_t* config, void** instance,
                     loader_error_t* error) {
  return guarded(error, [&] {
    if (config->slots > 1) {
      throw std::runtime_error("slots is " + std::to_string(config->slots) +
                               ": eSpeak NG speaks with one voice per process; set slots to 1 "
                               "and raise instances");
    }
    const auto directory = flat_json::member(view(config->json), "data_directory");
    const auto chunk = flat_json::member(view(config->json), "chunk_ms");
    *instance = new Engine(
        host, directory ? flat_json::to_string(*directory).value_or("") : "",
        static_cast<int>(chunk ? integer("chunk_ms", *chunk, 10, 10000) : kDefaultChunkMs));
    return LOADER_OK;
  });
}

void fini(void* instance) {
  delete static_cast<Engine*>(instance);
}

loader_status_t exec(void* instance, loader_handle_t call, const loader_open_t* open,
                     loader_frame_t* frame, loader_error_t* error) {
  return guarded(error, [&] {
    auto& engine = *static_cast<Engine*>(instance);
    ChunkEmitter emitter(engine, call);
    loader_status_t status = LOADER_OK;
    engine.synthesizer.speak(read_request(*open, *frame), [&](std::span<const int16_t> samples) {
      status = emitter.emit(samples, false);
      return status == LOADER_OK;
    });
    return status == LOADER_OK ? emitter.emit({}, true) : status;
  });
}

}  // namespace

extern "C" const loader_wrapper_t* loader_wrapper(void) {
  static constexpr loader_wrapper_t kTable = {LOADER_ABI_MAJOR,
                                              LOADER_ABI_MINOR,
                                              sizeof(loader_wrapper_t),
                                              0,
                                              "tts_espeak",
                                              "1.0.0",
                                              describe,
                                              init,
                                              fini,
                                              exec,
                                              nullptr,
                                              nullptr,
                                              nullptr,
                                              nullptr,
                                              nullptr,
                                              nullptr};
  return &kTable;
}
