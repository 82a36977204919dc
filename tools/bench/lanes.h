// What a load generator does on one completion queue: lanes, each with at most one message in
// flight. Knows bytes and times; what the bytes mean, and when to measure, is the caller's.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

// Counts while `is_measuring`; latencies in microseconds.
struct Tally {
  bool is_measuring = false;
  uint64_t failures = 0;
  std::string first_failure;
  std::vector<float> latencies_us;

  void add(Clock::duration latency);
  void fail(const std::string& text);
  float percentile(double share);
};

// What a completion-queue tag points to.
class Event {
 public:
  virtual ~Event() = default;
  virtual void done(bool is_ok) = 0;
};

// One-shot calls, one after the other.
class UnaryLane final : public Event {
 public:
  UnaryLane(grpc::GenericStub& stub, grpc::CompletionQueue& queue, std::string path,
            grpc::ByteBuffer request, Tally& tally);
  void start();
  void done(bool is_ok) override;

 private:
  grpc::GenericStub& stub_;
  grpc::CompletionQueue& queue_;
  std::string path_;
  grpc::ByteBuffer request_;
  Tally& tally_;
  std::optional<grpc::ClientContext> context_;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> call_;
  grpc::ByteBuffer response_;
  grpc::Status status_;
  Clock::time_point sent_;
};

// One stream: an optional opening message and its answer, then what `Mode` says.
class StreamLane {
 public:
  enum class Mode {
    kPingPong,  // the next message when the answer to the last has come
    kOnDemand,  // a message when send() is called
    kStall,     // messages as fast as they go; nothing is read after the opening
  };
  StreamLane(grpc::GenericStub& stub, grpc::CompletionQueue& queue, const std::string& path,
             std::optional<grpc::ByteBuffer> opening, grpc::ByteBuffer request, Mode mode,
             Tally& tally);

  void start();
  bool is_open() const { return is_open_; }
  // `due`: when the message should have left; the latency counts from there.
  void send(Clock::time_point due);
  // False: the answer to the last message has not come.
  bool is_idle() const { return is_open_ && !is_writing_ && !is_reading_; }
  uint64_t writes() const { return writes_; }
  bool is_failed() const { return is_failed_; }

 private:
  struct Step final : Event {
    Step(StreamLane& its_lane, void (StreamLane::*its_method)(bool))
        : lane(its_lane), method(its_method) {}
    void done(bool is_ok) override { (lane.*method)(is_ok); }
    StreamLane& lane;
    void (StreamLane::*method)(bool);
  };

  void started(bool is_ok);
  void written(bool is_ok);
  void received(bool is_ok);
  void finished(bool is_ok);
  void write(const grpc::ByteBuffer& message);
  void read();
  void proceed();
  void end();

  std::optional<grpc::ByteBuffer> opening_;
  grpc::ByteBuffer request_;
  Mode mode_;
  Tally& tally_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  grpc::ByteBuffer response_;
  grpc::Status status_;
  Step start_step_{*this, &StreamLane::started};
  Step write_step_{*this, &StreamLane::written};
  Step read_step_{*this, &StreamLane::received};
  Step finish_step_{*this, &StreamLane::finished};
  Clock::time_point sent_;
  uint64_t writes_ = 0;
  bool is_open_ = false;
  bool is_writing_ = false;
  bool is_reading_ = false;
  bool is_failed_ = false;
};

}  // namespace bench
