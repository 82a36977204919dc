#include "grpc/out_buffer.h"

#include <algorithm>
#include <cstring>

namespace loader::grpc {
namespace {
constexpr size_t kCompactFrom = 64 << 10;
constexpr size_t kKeptSizes = 16;
constexpr size_t kJumpFrom = 16 << 10;
constexpr size_t kJumpTo = 72 << 10;
}  // namespace

void OutBuffer::add(SharedPayload payload) {
  size_ += payload.bytes().size();
  refs_.push_back({bytes_.size(), 0, std::move(payload)});
}

// A stalled stream keeps the memory it has grown to. What was taken off the front makes room first.
// Then one step to where most stop (pages that are never written cost nothing), then small ones,
// where a string would double and leave holes behind.
void OutBuffer::make_room(size_t more) {
  size_t wanted = bytes_.size() - offset_ + more;
  drop_taken();
  if (wanted + wanted / 8 <= bytes_.capacity()) return;
  size_t step = wanted < kJumpFrom ? wanted * 2 : std::max(wanted + wanted / 8, kJumpTo);
  std::string larger;
  larger.reserve(step);
  larger.append(bytes_);
  bytes_.swap(larger);
}

void OutBuffer::drop_taken() {
  bytes_.erase(0, offset_);
  for (Ref& ref : refs_) ref.at -= offset_;
  offset_ = 0;
}

void OutBuffer::commit(size_t message_bytes) {
  messages_.push_back(static_cast<uint32_t>(message_bytes));
}

bool OutBuffer::has_payload_within(size_t n) const {
  return !refs_.empty() && refs_.front().at - offset_ < n;
}

template <class OnBytes, class OnPayload>
void OutBuffer::take(size_t n, OnBytes on_bytes, OnPayload on_payload) {
  account(n);
  size_t done_refs = 0;
  while (n > 0) {
    size_t until = done_refs < refs_.size() ? refs_[done_refs].at : bytes_.size();
    size_t step = std::min(n, until - offset_);
    if (step > 0) {
      on_bytes(std::string_view(bytes_).substr(offset_, step));
      offset_ += step;
      n -= step;
    }
    if (n == 0 || done_refs == refs_.size()) break;
    Ref& ref = refs_[done_refs];
    std::string_view rest = ref.payload.bytes().substr(ref.offset);
    step = std::min(n, rest.size());
    on_payload(rest.substr(0, step), ref.payload);
    ref.offset += step;
    n -= step;
    if (step == rest.size()) done_refs++;
  }
  if (done_refs > 0) refs_.erase(refs_.begin(), refs_.begin() + static_cast<ptrdiff_t>(done_refs));
  compact();
}

void OutBuffer::copy_to(uint8_t* to, size_t n) {
  auto put = [&](std::string_view b) {
    std::memcpy(to, b.data(), b.size());
    to += b.size();
  };
  take(n, put, [&](std::string_view b, const SharedPayload&) { put(b); });
}

void OutBuffer::gather(size_t n, ByteSink& sink) {
  promised_ = 0;
  take(
      n, [&](std::string_view b) { sink.append(b); },
      [&](std::string_view b, const SharedPayload& keep) { sink.append(b, keep); });
}

void OutBuffer::account(size_t n) {
  size_ -= n;
  taken_of_front_ += n;
  while (front_ < messages_.size() && taken_of_front_ >= messages_[front_])
    taken_of_front_ -= messages_[front_++];
  if (front_ < messages_.size()) return;
  front_ = 0;
  messages_.clear();
  if (messages_.capacity() > kKeptSizes) messages_.shrink_to_fit();
}

void OutBuffer::compact() {
  if (offset_ == bytes_.size() && refs_.empty()) {
    bytes_.clear();
    offset_ = 0;
  } else if (offset_ >= kCompactFrom && offset_ >= bytes_.size() / 2) {
    drop_taken();
  }
}

std::pair<size_t, size_t> OutBuffer::begun_bytes() const {
  size_t begun = taken_of_front_ + promised_;
  size_t end = 0;
  size_t count = 0;
  while (end < begun) end += messages_[front_ + count++];
  return {end - taken_of_front_, count};
}

void OutBuffer::drop_whole_messages() {
  auto [keep, count] = begun_bytes();
  if (keep == 0) return clear();
  size_t left = keep;
  size_t i = 0;
  size_t at = offset_;
  for (; i < refs_.size(); i++) {
    size_t before = refs_[i].at - at;
    if (left <= before) break;
    size_t payload = refs_[i].payload.bytes().size() - refs_[i].offset;
    left -= before + payload;  // a message never ends inside a payload
    at = refs_[i].at;
    if (left == 0) {
      i++;
      break;
    }
  }
  refs_.erase(refs_.begin() + static_cast<ptrdiff_t>(i), refs_.end());
  bytes_.resize(at + left);
  size_ = keep;
  messages_.resize(front_ + count);
}

void OutBuffer::clear() {
  bytes_.clear();
  refs_.clear();
  messages_.clear();
  offset_ = size_ = front_ = taken_of_front_ = promised_ = 0;
}

}  // namespace loader::grpc
