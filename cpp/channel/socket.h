// One end of a channel's Unix stream socket: records are collected and leave in one system call;
// bytes that came in are cut into checked records. Never blocks, waits for nothing: the owner polls
// fd() and calls read() and flush(). Refuses to know what records mean.
//
// The reading half and the writing half share only the descriptor: each may have its own thread,
// but only one at a time.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "channel/byte_buffer.h"
#include "channel/fork_guard.h"
#include "channel/record.h"
#include "channel/unique_fd.h"

namespace loader::channel {

class RecordSink {
 public:
  virtual ~RecordSink() = default;
  // False: stop reading, read() returns kStopped (the sink found the record's content wrong, or
  // wants no more now); the record counts as taken. Must not destroy the socket.
  virtual bool on_record(RecordView& record) = 0;
};

enum class ReadStatus {
  kDrained,  // nothing more to read now
  kMore,     // the budget of this call is used up: more may wait (poll is level-triggered)
  kStopped,  // the sink said so
  kClosed,   // the peer is gone
  kFault     // not a valid stream of records; fault() says why
};

enum class FlushStatus {
  kEmpty,    // everything is with the kernel
  kBlocked,  // the kernel takes no more: poll for POLLOUT
  kDelayed,  // nor more memory files, for which nobody can poll: flush again in a moment
  kClosed    // the peer is gone; what was queued is dropped
};

class ChannelSocket {
 public:
  // `fd` is made non-blocking and close-on-exec, and becomes void in forked children.
  ChannelSocket(UniqueFd fd, Side me, size_t max_record_bytes = kMaxRecordBytes);
  ~ChannelSocket();
  ChannelSocket(const ChannelSocket&) = delete;
  ChannelSocket& operator=(const ChannelSocket&) = delete;

  int fd() const { return fd_.get(); }

  // ---- writing half
  // Place for the body of a record: write exactly `body_size` bytes before the next call.
  uint8_t* begin(RecordType type, uint64_t handle, size_t body_size,
                 std::span<const PayloadRef> payloads = {});
  // The memory file of the record last begun; once for each of its kInMemfd payloads, in order.
  void attach(UniqueFd memfd);
  void append(RecordType type, uint64_t handle, std::span<const uint8_t> body = {},
              std::span<const PayloadRef> payloads = {});
  // A record with one of the structs of bodies.h.
  template <typename Body>
  void append_body(RecordType type, uint64_t handle, const Body& body) {
    write(body, begin(type, handle, size_of(body)));
  }
  bool has_output() const { return !out_.empty(); }
  size_t queued_bytes() const { return out_.size(); }
  FlushStatus flush();

  // ---- reading half
  // Reads what is there (at most about `budget_bytes`) and passes each whole record to `sink`.
  ReadStatus read(RecordSink& sink, size_t budget_bytes = 1024 * 1024);
  // Records already received but not yet passed on, because the sink said stop.
  bool has_input() const { return !in_.empty(); }
  const std::string& fault() const { return fault_; }

 private:
  struct PendingFd {
    uint64_t offset;  // of its record in the stream sent
    UniqueFd fd;
  };
  enum class Intake { kBytes, kNothing, kClosed, kFault };

  Intake receive();
  bool take_descriptors(msghdr& message);
  bool claim_descriptors(RecordView& record);
  ReadStatus deliver(RecordSink& sink);
  ReadStatus fail(std::string why);

  ssize_t send_some(size_t size, std::span<const int> fds);
  size_t next_send(std::vector<int>& fds) const;

  UniqueFd fd_;
  ForkGuard fork_guard_;
  ByteBuffer out_;
  uint64_t sent_bytes_ = 0;
  uint64_t last_record_ = 0;
  std::deque<PendingFd> pending_fds_;
  std::vector<int> sending_fds_;

  ByteBuffer in_;
  RecordReader reader_;
  size_t wanted_bytes_ = 0;
  bool is_drained_ = false;
  std::deque<UniqueFd> received_fds_;
  std::vector<UniqueFd> record_fds_;
  std::string fault_;
};

}  // namespace loader::channel
