// Implements synthesizer.h on speak_lib.h, in synchronous mode: the library calls back on the
// thread that asked.
#include "synthesizer.h"

#include <espeak-ng/speak_lib.h>

#include <exception>
#include <stdexcept>

namespace tts {
namespace {

struct Turn {
  const Synthesizer::Sink& sink;
  std::exception_ptr failure;
};

// Called by C code: nothing may throw through it. 1 stops the synthesis.
int on_samples(short* samples, int count, espeak_EVENT* events) noexcept {
  if (samples == nullptr || count == 0) return 0;
  auto& turn = *static_cast<Turn*>(events->user_data);
  try {
    return turn.sink({samples, static_cast<size_t>(count)}) ? 0 : 1;
  } catch (...) {
    turn.failure = std::current_exception();
    return 1;
  }
}

// Once per process, and never espeak_Terminate: that joins a thread of the library and, in 1.51,
// can wait for ever. The library is process-wide, so the end of the process is its destructor.
int start_library(const std::string& data_directory, int chunk_ms) {
  const int sample_rate = espeak_Initialize(
      AUDIO_OUTPUT_SYNCHRONOUS, chunk_ms, data_directory.empty() ? nullptr : data_directory.c_str(),
      espeakINITIALIZE_DONT_EXIT);
  if (sample_rate <= 0) {
    throw std::runtime_error("eSpeak NG did not start with its data in \"" + data_directory +
                             "\": run `apt-get install espeak-ng-data` or set data_directory");
  }
  espeak_SetSynthCallback(on_samples);
  return sample_rate;
}

}  // namespace

Synthesizer::Synthesizer(const std::string& data_directory, int chunk_ms) {
  static const int rate = start_library(data_directory, chunk_ms);
  sample_rate_ = rate;
}

void Synthesizer::speak(const Request& request, const Sink& sink) {
  const std::lock_guard lock(mutex_);
  if (espeak_SetVoiceByName(request.voice.c_str()) != EE_OK) {
    throw std::invalid_argument("voice \"" + request.voice +
                                "\" does not exist: `espeak-ng --voices` lists them");
  }
  espeak_SetParameter(espeakRATE, request.rate_wpm, 0);
  espeak_SetParameter(espeakPITCH, request.pitch, 0);
  espeak_SetParameter(espeakVOLUME, request.volume, 0);
  Turn turn{sink, nullptr};
  const espeak_ERROR status = espeak_Synth(request.text.c_str(), request.text.size() + 1, 0,
                                           POS_CHARACTER, 0, espeakCHARS_UTF8, nullptr, &turn);
  if (turn.failure) std::rethrow_exception(turn.failure);
  if (status != EE_OK) {
    throw std::runtime_error("espeak_Synth failed with status " + std::to_string(status));
  }
}

}  // namespace tts
