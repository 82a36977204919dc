// Speech synthesis with eSpeak NG: text in, chunks of PCM out as they are made. The library holds
// one voice per process and is not thread-safe: so there is one Synthesizer, and it takes turns.
// Knows nothing of the loader.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>

namespace tts {

struct Request {
  std::string text;
  std::string voice = "en";
  int rate_wpm = 175;
  int pitch = 50;
  int volume = 100;
};

class Synthesizer {
 public:
  // False stops the synthesis.
  using Sink = std::function<bool(std::span<const int16_t>)>;

  // `data_directory` empty: the installed one. The first in a process decides both values.
  // Throws std::runtime_error.
  Synthesizer(const std::string& data_directory, int chunk_ms);
  Synthesizer(const Synthesizer&) = delete;
  Synthesizer& operator=(const Synthesizer&) = delete;

  int sample_rate() const { return sample_rate_; }
  // Throws std::invalid_argument for a voice that does not exist; rethrows what `sink` throws.
  void speak(const Request& request, const Sink& sink);

 private:
  std::mutex mutex_;
  int sample_rate_ = 0;
};

}  // namespace tts
