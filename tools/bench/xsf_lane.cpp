// Implements xsf_lane.h.
#include "xsf_lane.h"

namespace bench {
namespace {

void append_varint(std::string& out, uint64_t value) {
  for (; value > 0x7f; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_field(std::string& out, uint32_t field, const std::string& bytes) {
  append_varint(out, field << 3 | 2);
  append_varint(out, bytes.size());
  out.append(bytes);
}

std::string flat(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!buffer.Dump(&slices).ok()) return out;
  for (const grpc::Slice& slice : slices) {
    out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return out;
}

}  // namespace

XsfLane::XsfLane(grpc::GenericStub& stub, grpc::CompletionQueue& queue, std::string path,
                 std::string opening, std::string package, Tally& tally)
    : stub_(stub),
      queue_(queue),
      path_(std::move(path)),
      opening_(std::move(opening)),
      package_(std::move(package)),
      tally_(tally) {}

void XsfLane::send(const std::string& request) {
  const grpc::Slice slice(request);
  context_.emplace();
  sent_ = Clock::now();
  call_ = stub_.PrepareUnaryCall(&*context_, path_, grpc::ByteBuffer(&slice, 1), &queue_);
  call_->StartCall();
  call_->Finish(&response_, &status_, static_cast<Event*>(this));
}

// Field 3 of a ResData that has no error begins it.
bool XsfLane::read_handle(const std::string& response) {
  if (response.size() < 2 || response[0] != (3 << 3 | 2)) return false;
  const auto size = static_cast<unsigned char>(response[1]);
  if (size > 0x7f || response.size() < 2u + size) return false;
  session_ = response.substr(2, size);
  return true;
}

std::string XsfLane::next_request() {
  std::string package = package_;
  append_varint(package, 8 << 3);
  append_varint(package, ++sync_id_);
  std::string data, out;
  append_field(data, 1, package);
  append_field(out, 1, "AIIn");
  append_field(out, 2, session_);
  append_field(out, 4, data);
  return out;
}

void XsfLane::done(bool) {
  if (!status_.ok()) return tally_.fail(status_.error_message());
  if (session_.empty()) {
    if (!read_handle(flat(response_))) return tally_.fail("the session was not created");
  } else {
    tally_.add(Clock::now() - sent_);
  }
  send(next_request());
}

}  // namespace bench
