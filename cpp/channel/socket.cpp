// Sending and receiving of records with their memory files.
#include "channel/socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace loader::channel {

namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kKeepBytes = 1024 * 1024;
constexpr size_t kMaxDescriptors = 253;  // SCM_MAX_FD of the kernel

bool is_again(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

UniqueFd prepare(UniqueFd fd) {
  const int flags = fcntl(fd.get(), F_GETFL);
  if (flags < 0 || fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0 ||
      fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0) {
    throw std::system_error(errno, std::generic_category(), "preparing the channel's socket");
  }
  return fd;
}

}  // namespace

ChannelSocket::ChannelSocket(UniqueFd fd, Side me, size_t max_record_bytes)
    : fd_(prepare(std::move(fd))), fork_guard_(fd_.get()), reader_(me, max_record_bytes) {}

ChannelSocket::~ChannelSocket() = default;

// ---- writing half

uint8_t* ChannelSocket::begin(RecordType type, uint64_t handle, size_t body_size,
                              std::span<const PayloadRef> payloads) {
  last_record_ = sent_bytes_ + out_.size();
  return begin_record(out_, type, handle, payloads, body_size);
}

void ChannelSocket::attach(UniqueFd memfd) {
  pending_fds_.push_back({last_record_, std::move(memfd)});
}

void ChannelSocket::append(RecordType type, uint64_t handle, std::span<const uint8_t> body,
                           std::span<const PayloadRef> payloads) {
  uint8_t* at = begin(type, handle, body.size(), payloads);
  if (!body.empty()) std::memcpy(at, body.data(), body.size());
}

// A record with memory files begins a system call of its own and they go with its first byte, so
// the peer never holds more than those of two records.
size_t ChannelSocket::next_send(std::vector<int>& fds) const {
  fds.clear();
  for (const PendingFd& pending : pending_fds_) {
    if (pending.offset != sent_bytes_) return pending.offset - sent_bytes_;
    fds.push_back(pending.fd.get());
  }
  return out_.size();
}

ssize_t ChannelSocket::send_some(size_t size, std::span<const int> fds) {
  if (fds.empty()) return send(fd_.get(), out_.data(), size, MSG_NOSIGNAL | MSG_DONTWAIT);
  iovec bytes{out_.data(), size};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxPayloads * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  return sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

FlushStatus ChannelSocket::flush() {
  while (!out_.empty()) {
    const size_t size = pending_fds_.empty() ? out_.size() : next_send(sending_fds_);
    if (pending_fds_.empty()) sending_fds_.clear();
    const ssize_t sent = send_some(size, sending_fds_);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (is_again(errno)) return FlushStatus::kBlocked;
      // Too many descriptors in flight: somebody has to take some first, and the socket is writable
      // all the while.
      if (errno == ENOBUFS || errno == ETOOMANYREFS) return FlushStatus::kDelayed;
      out_.consume(out_.size());
      pending_fds_.clear();
      return FlushStatus::kClosed;
    }
    pending_fds_.erase(pending_fds_.begin(),
                       pending_fds_.begin() + static_cast<ptrdiff_t>(sending_fds_.size()));
    sent_bytes_ += static_cast<size_t>(sent);
    out_.consume(static_cast<size_t>(sent));
  }
  out_.shrink(kKeepBytes);
  return FlushStatus::kEmpty;
}

// ---- reading half

ReadStatus ChannelSocket::fail(std::string why) {
  fault_ = std::move(why);
  return ReadStatus::kFault;
}

bool ChannelSocket::take_descriptors(msghdr& message) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      received_fds_.emplace_back(fd);
    }
  }
  return (message.msg_flags & MSG_CTRUNC) == 0;
}

// Memory grows with what really came, never with what a header promises.
ChannelSocket::Intake ChannelSocket::receive() {
  const size_t missing = wanted_bytes_ > in_.size() ? wanted_bytes_ - in_.size() : 0;
  const size_t room = std::clamp(missing, kReadBytes, std::max(kReadBytes, in_.size()));
  iovec bytes{in_.reserve(room), room};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control;
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t received = -1;
  do {
    received = recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return is_again(errno) ? Intake::kNothing : Intake::kClosed;
  if (received == 0) return Intake::kClosed;
  in_.commit(static_cast<size_t>(received));
  if (message.msg_controllen != 0 && !take_descriptors(message)) return Intake::kFault;
  is_drained_ = static_cast<size_t>(received) < room;
  return Intake::kBytes;
}

bool ChannelSocket::claim_descriptors(RecordView& record) {
  record_fds_.clear();
  for (const PayloadRef& ref : record.payloads) {
    if (ref.kind != kInMemfd) continue;
    if (received_fds_.empty()) return false;
    record_fds_.push_back(std::move(received_fds_.front()));
    received_fds_.pop_front();
  }
  record.memfds = record_fds_;
  return true;
}

ReadStatus ChannelSocket::deliver(RecordSink& sink) {
  RecordView record;
  while (true) {
    switch (reader_.next(in_.bytes(), record)) {
      case RecordReader::Status::kFault:
        return fail(reader_.fault());
      case RecordReader::Status::kIncomplete:
        wanted_bytes_ = reader_.needed();
        if (received_fds_.size() > kMaxPayloads) {
          return fail("the peer sent more memory files than its records name");
        }
        return ReadStatus::kDrained;
      case RecordReader::Status::kRecord:
        break;
    }
    if (!claim_descriptors(record)) {
      return fail(std::string("a ") + name_of(record.type) +
                  " record came without its memory file");
    }
    const bool goes_on = sink.on_record(record);
    in_.consume(reader_.consumed());
    record_fds_.clear();
    if (!goes_on) return ReadStatus::kStopped;
  }
}

ReadStatus ChannelSocket::read(RecordSink& sink, size_t budget_bytes) {
  if (!fault_.empty()) return ReadStatus::kFault;
  if (!in_.empty()) {
    if (const ReadStatus status = deliver(sink); status != ReadStatus::kDrained) return status;
  }
  for (size_t taken = 0; taken < budget_bytes;) {
    const size_t before = in_.size();
    switch (receive()) {
      case Intake::kNothing:
        return ReadStatus::kDrained;
      case Intake::kClosed:
        return ReadStatus::kClosed;
      case Intake::kFault:
        return fail("the peer sent more memory files than fit; descriptors were lost");
      case Intake::kBytes:
        break;
    }
    taken += in_.size() - before;
    if (const ReadStatus status = deliver(sink); status != ReadStatus::kDrained) return status;
    in_.shrink(kKeepBytes);
    // A short read means that the socket was empty: saves the system call that would say so. More
    // that came since, or a memory file that cut the read short, wakes the level-triggered poll.
    if (is_drained_) return ReadStatus::kDrained;
  }
  return ReadStatus::kMore;
}

}  // namespace loader::channel
