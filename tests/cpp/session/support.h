// The in-process front and the scripted engine host that the session core is tested with, and a
// world of shards, instances and a pool around them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "session/shard.h"

namespace loader::session::test {

inline constexpr EngineId kEngine = 7;
inline constexpr int64_t kMs = 1'000'000;
inline constexpr int64_t kSecond = 1'000 * kMs;

inline MessageView view_of(const std::string& text, uint64_t window_bytes = 0) {
  return {{reinterpret_cast<const uint8_t*>(text.data()), text.size()}, {}, window_bytes};
}
inline std::string text_of(const MessageView& message) {
  return {reinterpret_cast<const char*>(message.body.data()), message.body.size()};
}

// Counts references; a payload that leaks or is released twice shows at the end.
class CountedOwner final : public PayloadOwner {
 public:
  void retain() noexcept override { ++count; }
  void release() noexcept override { --count; }
  int count = 0;
};

class TestFront : public Front {
 public:
  void on_opened(SessionId id) override {
    EXPECT_EQ(finals, 0);
    EXPECT_TRUE(results.empty()) << "a result came before opened";
    ++opened;
    if (at_opened) at_opened(id);
  }
  void on_result(SessionId id, const MessageView& result) override {
    EXPECT_EQ(finals, 0) << "a result came after final";
    results.push_back(text_of(result));
    unconsumed += result.size_bytes();
    ++unconsumed_records;
    if (at_result) at_result(id);
  }
  void on_input_credit(SessionId, uint64_t window_bytes) override {
    EXPECT_EQ(finals, 0);
    credit += window_bytes;
  }
  void on_processed(SessionId, uint64_t frame_count) override { processed = frame_count; }
  void on_final(SessionId id, const FinalView& said) override {
    ++finals;
    EXPECT_EQ(finals, 1) << "final was said twice";
    reason = said.reason;
    error = said.error.code;
    engine_code = said.error.engine_code;
    engine_message = said.error.engine_message;
    message = said.error.message;
    statistics = said.statistics;
    if (at_final) at_final(id);
  }
  void consume(Shard& shard, SessionId id) {
    const uint64_t bytes = unconsumed;
    const uint32_t records = unconsumed_records;
    unconsumed = 0;
    unconsumed_records = 0;
    shard.result_consumed(id, bytes, records);
  }

  int opened = 0;
  int finals = 0;
  uint32_t reason = 0;
  ErrorCode error = ErrorCode::kNone;
  int32_t engine_code = 0;
  std::string engine_message;
  std::string message;
  SessionStatistics statistics;
  std::vector<std::string> results;
  uint64_t unconsumed = 0;
  uint32_t unconsumed_records = 0;
  uint64_t credit = 0;
  uint64_t processed = 0;
  std::function<void(SessionId)> at_opened;
  std::function<void(SessionId)> at_result;
  std::function<void(SessionId)> at_final;
};

// One engine instance as one shard sees it. Checks the order of what it is told; completes when the
// test says so.
class TestHost : public HostPort {
 public:
  struct Work {
    std::deque<Op> running;
    std::vector<std::string> frames;
    int creates = 0;
    int destroys = 0;
    int ends = 0;
    int cancels = 0;
    bool is_created = false;
    bool is_refused = false;
    uint32_t reason = 0;
    int64_t credit_bytes = 0;
    int64_t credit_records = 0;
    int64_t deadline_ns = 0;
  };

  void send_create(Handle handle, const OpenView& open) override {
    Work& w = begin(handle, open);
    ++w.creates;
    EXPECT_EQ(w.creates, 1);
    push(handle, Op::kCreate);
  }
  void send_exec(Handle handle, const OpenView& open, const MessageView& request) override {
    begin(handle, open).frames.push_back(text_of(request));
    push(handle, Op::kExec);
  }
  void send_write(Handle handle, const MessageView& frame) override {
    Work& w = work[handle];
    EXPECT_TRUE(w.is_created) << "a frame before created";
    EXPECT_EQ(w.ends, 0) << "a frame after end";
    EXPECT_EQ(w.destroys, 0) << "a frame after destroy";
    w.frames.push_back(text_of(frame));
    push(handle, Op::kWrite);
  }
  void send_end(Handle handle) override {
    Work& w = work[handle];
    EXPECT_TRUE(w.is_created);
    EXPECT_EQ(w.destroys, 0);
    ++w.ends;
    EXPECT_EQ(w.ends, 1) << "end was sent twice";
    push(handle, Op::kEnd);
  }
  void send_cancel(Handle handle, uint32_t reason) override {
    Work& w = work[handle];
    EXPECT_EQ(w.destroys, 0) << "cancel after destroy";
    ++w.cancels;
    w.reason = reason;
  }
  void send_destroy(Handle handle, uint32_t reason) override {
    Work& w = work[handle];
    EXPECT_TRUE(w.is_created) << "destroy without a create that succeeded";
    ++w.destroys;
    EXPECT_EQ(w.destroys, 1) << "destroy was sent twice";
    w.reason = reason;
    push(handle, Op::kDestroy);
  }
  void grant(Handle handle, uint32_t records, uint64_t bytes) override {
    work[handle].credit_records += records;
    work[handle].credit_bytes += static_cast<int64_t>(bytes);
  }

  // Completes the oldest running call.
  HostVerdict complete(Shard& shard, Handle handle, int32_t status = 0,
                       const std::string& message = {}) {
    Work& w = work.at(handle);
    const Op op = w.running.front();
    w.running.pop_front();
    if (op == Op::kCreate) (status == 0 ? w.is_created : w.is_refused) = true;
    Completion completion;
    completion.handle = handle;
    completion.op = op;
    completion.status = status;
    completion.message = message;
    return shard.on_completion(completion);
  }
  // Emits if there is credit, as a host would.
  bool emit(Shard& shard, Handle handle, const std::string& text) {
    Work& w = work.at(handle);
    if (w.credit_records <= 0 || w.credit_bytes <= 0) return false;
    --w.credit_records;
    w.credit_bytes -= static_cast<int64_t>(text.size());
    EXPECT_EQ(shard.on_result(handle, view_of(text)), HostVerdict::kOk);
    return true;
  }

  std::map<Handle, Work> work;
  std::function<void(Handle, Op)> at_call;  // an inline engine completes in here

 private:
  Work& begin(Handle handle, const OpenView& open) {
    Work& w = work[handle];
    w.credit_bytes = static_cast<int64_t>(open.credit_bytes);
    w.credit_records = open.credit_records;
    w.deadline_ns = open.deadline_ns;
    bodies.emplace_back(open.body.begin(), open.body.end());
    return w;
  }
  void push(Handle handle, Op op) {
    work[handle].running.push_back(op);
    if (at_call) at_call(handle, op);
  }

 public:
  std::vector<std::string> bodies;
};

class TestEvents : public ShardEvents {
 public:
  void on_instance_hung(InstanceId instance, SessionId) override { hung.push_back(instance); }
  void on_kill_instance(InstanceId instance) override { killed.push_back(instance); }
  void on_drained() override { ++drained; }
  std::vector<InstanceId> hung;
  std::vector<InstanceId> killed;
  int drained = 0;
};

class PostedGrants : public GrantSink {
 public:
  void post_grant(const Grant& grant) override { posted.push_back(grant); }
  std::deque<Grant> posted;
};

// One engine, one instance, one shard.
class World {
 public:
  explicit World(uint32_t slots = 2, uint32_t queue_limit = 4, EngineOptions with = {})
      : options(with), pool(std::make_shared<SlotPool>(sink, slots, queue_limit)) {
    shard.set_now(now);
    shard.add_engine(kEngine, pool, options);
    shard.add_port(1, kEngine, host);
    pool->add_instance(1);
  }

  SessionId open(TestFront& front, Kind kind = Kind::kSession, int64_t deadline_ns = kNever,
                 int32_t priority = 0) {
    OpenRequest request;
    request.kind = kind;
    request.engine = kEngine;
    request.front = &front;
    request.deadline_ns = deadline_ns;
    request.priority = priority;
    const std::string body = "open";
    const std::string input = "request";
    request.body = view_of(body).body;
    request.request = view_of(input);
    return shard.open(request);
  }
  SessionId open_created(TestFront& front) {
    const SessionId id = open(front);
    host.complete(shard, id);
    return id;
  }
  void advance(int64_t by_ns) {
    now += by_ns;
    shard.advance(now);
  }
  void deliver_grants() {
    while (!sink.posted.empty()) {
      const Grant grant = sink.posted.front();
      sink.posted.pop_front();
      shard.on_slot_granted(grant);
    }
  }
  State state(SessionId id) const {
    SessionInfo info;
    return shard.find_session(id, info) ? info.state : State::kClosed;
  }
  void kill_host() {
    pool->retire_instance(1);
    shard.on_host_died(1);
  }

  int64_t now = kSecond;
  EngineOptions options;
  PostedGrants sink;
  TestEvents events;
  TestHost host;
  std::shared_ptr<SlotPool> pool;
  Shard shard{0, events};
};

}  // namespace loader::session::test
