#include "server/result_writer.h"

#include "server/wire.h"

namespace loader::server {
namespace {

// Below it a copy is cheaper than a buffer of its own in the send queue.
constexpr size_t kGatherBytes = 32 << 10;

std::string_view text_of(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint8_t* raw(std::string& text, size_t at) {
  return reinterpret_cast<uint8_t*>(text.data()) + at;
}

void release_payload(void* owner, uint64_t) {
  static_cast<session::PayloadOwner*>(owner)->release();
}

size_t largest_of(const session::MessageView& result) {
  size_t largest = 0;
  for (size_t i = 1; i < result.payloads.size(); i++) {
    if (result.payloads[i].bytes.size() > result.payloads[largest].bytes.size()) largest = i;
  }
  return largest;
}

}  // namespace

bool decode_result(const session::MessageView& result, frame::FrameView& frame) {
  frame.clear();
  auto count = static_cast<uint32_t>(result.payloads.size());
  if (frame::decode_frame(result.body, frame::Origin::kNode, frame, count) != frame::Fault::kNone) {
    return false;
  }
  for (frame::ItemView& item : frame.items) {
    if (item.payload == 0) continue;
    item.data = result.payloads[item.payload - 1].bytes;
    item.payload = 0;
  }
  return true;
}

ResultWriter::Outcome ResultWriter::send(grpc::Call& call, uint32_t field,
                                         const session::MessageView& result) {
  if (!decode_result(result, frame_)) return Outcome::kBadFrame;
  if (!result.payloads.empty()) return send_gathered(call, field, result);
  FieldHead head(field, result.body.size());
  return call.send_message({head.bytes(), text_of(result.body)}) ? Outcome::kSent
                                                                 : Outcome::kCallOver;
}

ResultWriter::Outcome ResultWriter::send_gathered(grpc::Call& call, uint32_t field,
                                                  const session::MessageView& result) {
  const session::PayloadView& payload = result.payloads[largest_of(result)];
  FieldHead head(field, frame::encoded_size(frame_));
  if (payload.bytes.size() >= kGatherBytes) {
    cuts_.clear();
    scratch_.resize(frame::split_size(frame_, payload.bytes.size()));
    frame::write_frame_split(frame_, payload.bytes.size(), raw(scratch_, 0), cuts_);
    if (cuts_.size() == 1) {
      std::string_view around(scratch_);
      std::string_view before[] = {head.bytes(), around.substr(0, cuts_[0].offset)};
      std::string_view after[] = {around.substr(cuts_[0].offset)};
      payload.owner->retain();
      grpc::Payload body(payload.bytes.data(), payload.bytes.size(), release_payload,
                         payload.owner);
      return call.send_message(before, std::move(body), after) ? Outcome::kSent
                                                               : Outcome::kCallOver;
    }
  }
  scratch_.resize(frame::encoded_size(frame_));
  frame::write_frame(frame_, raw(scratch_, 0));
  return call.send_message({head.bytes(), scratch_}) ? Outcome::kSent : Outcome::kCallOver;
}

bool ResultWriter::append(std::string& out, uint32_t field, const session::MessageView& result) {
  if (!decode_result(result, frame_)) return false;
  if (result.payloads.empty()) {
    append_bytes(out, field, text_of(result.body));
    return true;
  }
  size_t size = frame::encoded_size(frame_);
  out.append(FieldHead(field, size).bytes());
  size_t at = out.size();
  out.resize(at + size);
  frame::write_frame(frame_, raw(out, at));
  return true;
}

}  // namespace loader::server
