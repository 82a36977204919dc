// A result as the engine's host sent it, written into a message for the client: payloads beside the
// frame go back into it, the large ones without a copy. Knows no sessions.
#pragma once

#include <string>
#include <vector>

#include "frame/frame_codec.h"
#include "grpc/call.h"
#include "session/message.h"

namespace loader::server {

// Reads a result into `frame`, its payloads put where they belong. False: not a valid frame.
bool decode_result(const session::MessageView& result, frame::FrameView& frame);

class ResultWriter {
 public:
  enum class Outcome { kSent, kCallOver, kBadFrame };

  // Sends a message whose field `field` is the frame.
  Outcome send(grpc::Call& call, uint32_t field, const session::MessageView& result);
  // The same, appended to `out` with copies. False: not a valid frame.
  bool append(std::string& out, uint32_t field, const session::MessageView& result);

 private:
  Outcome send_gathered(grpc::Call& call, uint32_t field, const session::MessageView& result);

  frame::FrameView frame_;
  std::string scratch_;
  std::vector<frame::Cut> cuts_;
};

}  // namespace loader::server
