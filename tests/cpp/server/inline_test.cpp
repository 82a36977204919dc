// An engine on the data plane's own threads: real shards with their loops, the real library
// inline_probe, and fronts of the test. With 1 and 3 shards.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <semaphore.h>

#include <array>
#include <atomic>
#include <future>
#include <mutex>
#include <thread>

#include "host/native_engine.h"
#include "host/resource_table.h"
#include "loader/errors.h"
#include "loader/wrapper.h"
#include "server/inline_engine.h"
#include "server/inline_link.h"
#include "server/open_blob.h"
#include "session/shard.h"

namespace loader::server {
namespace {

using namespace std::chrono_literals;
using session::MessageView;

constexpr auto kPatience = 60s;
constexpr session::EngineId kEngine = 1;
constexpr session::InstanceId kInstance = 1;
constexpr uint64_t kWindow = 64 << 10;

// What the library counts. The handle keeps it from being unloaded as long as this lives.
class Counters {
 public:
  Counters() : handle_(dlopen(INLINE_DIRECTORY "/inline_probe.so", RTLD_NOW)) {
    for (const char* name :
         {"created", "destroyed", "reason", "cancelled", "calls", "lent", "released", "overlaps",
          "nested", "finished", "ended", "failed", "refused", "breaks", "loaded", "unloaded"})
      *at(name) = 0;
  }
  ~Counters() { dlclose(handle_); }
  int operator[](const char* name) const { return at(name)->load(); }
  void set(const char* name, int value) { *at(name) = value; }
  // Nothing of a thread that says so last may outlive the library.
  void wait_for(const char* name, int value) const {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while ((*this)[name] < value && std::chrono::steady_clock::now() < end)
      std::this_thread::yield();
    EXPECT_EQ((*this)[name], value) << name;
  }
  void open_gate() { sem_post(static_cast<sem_t*>(dlsym(handle_, "probe_gate"))); }

 private:
  std::atomic<int>* at(const char* name) const {
    return static_cast<std::atomic<int>*>(dlsym(handle_, (std::string("probe_") + name).c_str()));
  }
  void* handle_;
};

class Owner : public LinkOwner {
 public:
  void on_link_hello(InstanceLink&, const channel::Hello&) override {}
  void on_link_ready(InstanceLink&, const channel::ReadyBody& body) override { name = body.name; }
  void on_link_completion(InstanceLink&, uint64_t call,
                          const channel::CompletionBody& body) override {
    if (call != 0) {
      answers.push_back({call, body.status, body.error_code});
      return;
    }
    message = body.message;
    init.set_value(body.status);
  }
  void on_link_pong(InstanceLink&, uint64_t) override {}
  void on_link_log(InstanceLink&, uint64_t, const channel::LogBody&) override {}
  void on_link_meter(InstanceLink&, uint64_t, const channel::MeterBody&) override {}
  void on_link_trace(InstanceLink&, uint64_t, const channel::TraceBody&) override {}
  void on_link_lost(InstanceLink&, bool is_corrupt, const std::string& why) override {
    EXPECT_FALSE(is_corrupt) << why;
  }
  void on_link_dirty(InstanceLink&) override {}
  std::string session_id(session::SessionId) const override { return "test"; }

  struct Answer {
    uint64_t call;
    int32_t status;
    uint16_t error_code;
  };
  std::string name, message;
  std::promise<int32_t> init;
  std::vector<Answer> answers;  // of loads and unloads; the shard's thread
};

// A shard as the server has it, without gRPC.
class Box : private session::ShardEvents, private RoundHook {
 public:
  explicit Box(uint32_t index)
      : core(index, *this), timer_([this] { core.advance(loop.now_ns()); }) {
    loop.add_hook(this);
    thread_ = std::thread([this] { loop.run(); });
  }
  ~Box() override {
    loop.stop();
    thread_.join();
    loop.remove_hook(this);
  }
  template <typename Work>
  auto call(Work work) {
    std::packaged_task<decltype(work())()> task(std::move(work));
    auto result = task.get_future();
    loop.post([&] {
      core.set_now(loop.now_ns());
      task();
    });
    EXPECT_EQ(result.wait_for(kPatience), std::future_status::ready);
    return result.get();
  }

  EventLoop loop;
  session::Shard core;
  Owner owner;
  std::shared_ptr<InlineLink> link;

 private:
  void on_instance_hung(session::InstanceId, session::SessionId) override {}
  void on_kill_instance(session::InstanceId) override {}
  void on_drained() override {}
  void on_round_end() override {
    const int64_t next = core.next_deadline_ns();
    if (next == session::kNever) return timer_.cancel();
    timer_.set(loop, next);
  }
  Timer timer_;
  std::thread thread_;
};

// One client. Everything on the shard's thread but what waits.
class Client : public session::Front {
 public:
  Client(Box& box, bool reads = true) : box_(box), reads_(reads) {}
  ~Client() override {
    for (const auto& payload : kept_) payload.owner->release();
  }

  void on_opened(session::SessionId) override {}
  void on_result(session::SessionId id, const MessageView& result) override {
    EXPECT_FALSE(is_final_) << "a result after the final";
    ++results;
    if (keeps_payloads) {
      for (const auto& payload : result.payloads) {
        payload.owner->retain();
        kept_.push_back(payload);
      }
    }
    if (reads_) return box_.core.result_consumed(id, result.size_bytes());
    unread_ += result.size_bytes();
    ++unread_records_;
  }
  void on_input_credit(session::SessionId, uint64_t) override {}
  void on_final(session::SessionId, const session::FinalView& said) override {
    EXPECT_FALSE(is_final_) << "final twice";
    is_final_ = true;
    reason = said.reason;
    error = said.error.code;
    engine_code = said.error.engine_code;
    engine_message = said.error.engine_message;
    final_.set_value();
  }
  // Takes all that came so far, and from now on everything at once.
  void read(session::SessionId id) {
    reads_ = true;
    box_.core.result_consumed(id, std::exchange(unread_, 0), std::exchange(unread_records_, 0));
  }
  void release_kept() {
    for (const auto& payload : kept_) payload.owner->release();
    kept_.clear();
  }
  bool wait() { return final_.get_future().wait_for(kPatience) == std::future_status::ready; }
  bool is_final() const { return is_final_; }

  bool keeps_payloads = false;
  int results = 0;
  uint32_t reason = 0;
  ErrorCode error = ErrorCode::kNone;
  int32_t engine_code = 0;
  std::string engine_message;

 private:
  Box& box_;
  bool reads_;
  bool is_final_ = false;
  uint64_t unread_ = 0;
  uint32_t unread_records_ = 0;
  std::vector<session::PayloadView> kept_;
  std::promise<void> final_;
};

class Inline : public testing::TestWithParam<uint32_t>, public session::GrantSink {
 protected:
  void SetUp() override { start({}); }

  void start(channel::InitBody init) {
    auto code = std::make_unique<host::NativeEngine>();
    host::ErrorRoom room;
    ASSERT_EQ(code->load(INLINE_DIRECTORY, "inline_probe.so", room.error()), LOADER_OK);
    engine_ = std::make_shared<InlineEngine>(std::move(code));
    engine_->on_stuck([this](uint32_t shard, int64_t) { stuck_.set_value(shard); });
    session::EngineOptions options;
    options.window_bytes = kWindow;
    for (uint32_t i = 0; i < GetParam(); ++i) {
      Box& box = *boxes_.emplace_back(std::make_unique<Box>(i));
      box.link =
          std::make_shared<InlineLink>(kInstance, i, box.loop, box.core, box.owner, *engine_);
      engine_->add_link(box.link);
      box.call([&] {
        box.core.add_engine(kEngine, pool_, options);
        box.core.add_port(kInstance, kEngine, *box.link);
      });
    }
    init.json = "{}";
    auto told = first().owner.init.get_future();
    first().call([&] { first().link->send_init(channel::RecordType::kInit, init); });
    thread_ = std::thread([engine = engine_] { engine->serve(); });
    ASSERT_EQ(told.wait_for(kPatience), std::future_status::ready);
    init_status_ = told.get();
    pool_->add_instance(kInstance);
  }

  void close() {
    if (is_over_) return;
    for (auto& box : boxes_) {
      box->call([&] {
        box->link->close(LOADER_REASON_KICKED);
        box->core.on_host_died(kInstance);
      });
    }
    engine_->finish([this] { fini_.set_value(); });
    is_over_ = true;
  }

  void TearDown() override {
    close();
    EXPECT_EQ(fini_.get_future().wait_for(kPatience), std::future_status::ready);
    thread_.join();
    EXPECT_EQ(counters_["nested"], 0) << "an entry began inside another of the same thread";
    EXPECT_EQ(counters_["created"], counters_["destroyed"]);
    EXPECT_EQ(counters_["finished"], init_status_ == LOADER_OK ? 1 : 0);
    for (auto& box : boxes_) EXPECT_EQ(box->call([&] { return box->core.session_count(); }), 0u);
  }

  static std::string frame(std::string_view key, std::string_view data) {
    frame::FrameView view;
    view.add_item(key, {reinterpret_cast<const uint8_t*>(data.data()), data.size()});
    std::string bytes;
    frame::append_frame(view, bytes);
    return bytes;
  }
  static MessageView view_of(const std::string& bytes) {
    return {{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, {}, 0};
  }
  session::SessionId exec(Box& box, Client& client, std::string_view key, std::string_view data) {
    const std::string bytes = frame(key, data);
    session::OpenRequest request;
    request.kind = session::Kind::kExec;
    request.engine = kEngine;
    request.request = view_of(bytes);
    request.front = &client;
    return box.core.open(request);
  }
  session::SessionId open(Box& box, Client& client, std::string_view resource_ids = {}) {
    session::OpenRequest request;
    std::string blob;
    if (!resource_ids.empty()) {
      const TextPair parameter{host::kResourceIds, resource_ids};
      append_open_blob(blob, {&parameter, 1}, {});
      request.body = {reinterpret_cast<const uint8_t*>(blob.data()), blob.size()};
    }
    request.engine = kEngine;
    request.front = &client;
    return box.core.open(request);
  }
  // Of a load or unload, when it has come.
  Owner::Answer answer(uint64_t call) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      const auto answers = first().call([&] { return first().owner.answers; });
      for (const Owner::Answer& one : answers)
        if (one.call == call) return one;
      std::this_thread::yield();
    }
    ADD_FAILURE() << "no answer to " << call;
    return {};
  }
  session::FrameStatus write(Box& box, session::SessionId id, std::string_view key,
                             std::string_view data) {
    const std::string bytes = frame(key, data);
    return box.core.frame(id, view_of(bytes)).status;
  }
  Box& first() { return *boxes_.front(); }
  Box& last() { return *boxes_.back(); }

  Counters counters_;
  std::shared_ptr<session::SlotPool> pool_ = std::make_shared<session::SlotPool>(*this, 64, 64);
  std::vector<std::unique_ptr<Box>> boxes_;
  std::shared_ptr<InlineEngine> engine_;
  std::thread thread_;
  std::promise<uint32_t> stuck_;
  std::promise<void> fini_;
  int32_t init_status_ = 0;
  bool is_over_ = false;

 private:
  void post_grant(const session::Grant& grant) override {
    Box* box = boxes_[session::shard_of(grant.session)].get();
    box->loop.post([box, grant] { box->core.on_slot_granted(grant); });
  }
};

TEST_P(Inline, AnExecIsAnsweredBeforeOpenReturns) {
  Client client(last());
  last().call([&] {
    exec(last(), client, "echo", "x");
    EXPECT_TRUE(client.is_final());
  });
  EXPECT_EQ(client.results, 1);
  EXPECT_EQ(client.reason, uint32_t{LOADER_REASON_FINISHED});
  EXPECT_EQ(first().owner.name, "inline_probe");
}

TEST_P(Inline, ASessionRunsFromCreateToDestroyInOneRound) {
  Client client(last());
  last().call([&] {
    const auto id = open(last(), client);
    for (int i = 0; i < 100; ++i) write(last(), id, "echo", "x");
    last().core.input_end(id);
    EXPECT_TRUE(client.is_final());
  });
  EXPECT_EQ(client.results, 100);
  EXPECT_EQ(counters_["destroyed"], 1);
  EXPECT_EQ(counters_["reason"], LOADER_REASON_FINISHED);
}

// Which shard a session is on makes no difference: the one that ends last lets the resource go.
TEST_P(Inline, AResourceStaysUntilItsSessionsHaveEnded) {
  const auto load = [&](uint64_t call, std::string_view data) {
    const std::string bytes = frame("words", data);
    first().call([&] { first().link->send_load_resource(call, 7, view_of(bytes).body); });
    return answer(call);
  };
  const auto unload = [&](uint64_t call) {
    first().call([&] { first().link->send_unload_resource(call, 7); });
  };
  EXPECT_EQ(load(1, "").status, 9);
  EXPECT_EQ(load(2, "data").status, LOADER_OK);
  Client early(last()), unknown(last()), late(first());
  session::SessionId id = last().call([&] { return open(last(), early, "[7]"); });
  last().call([&] { open(last(), unknown, "[7, 8]"); });
  EXPECT_EQ(unknown.error, ErrorCode::UNKNOWN_RESOURCE);
  unload(3);
  first().call([&] { open(first(), late, "7"); });
  EXPECT_EQ(late.error, ErrorCode::UNKNOWN_RESOURCE);
  EXPECT_EQ(counters_["unloaded"], 0);
  last().call([&] { last().core.input_end(id); });
  ASSERT_TRUE(early.wait());
  EXPECT_EQ(answer(3).status, LOADER_OK);
  EXPECT_EQ(counters_["unloaded"], 1);
  unload(4);
  EXPECT_EQ(answer(4).error_code, static_cast<uint16_t>(ErrorCode::UNKNOWN_RESOURCE));
  EXPECT_EQ(counters_["loaded"], 4);
}

TEST_P(Inline, AnErrorOfTheEngineEndsTheCallWithItsCodeAndText) {
  Client client(last());
  last().call([&] { exec(last(), client, "fail", ""); });
  EXPECT_EQ(client.engine_code, 7);
  EXPECT_EQ(client.engine_message, "emitted 0");
}

TEST_P(Inline, InsideAnEntryEmitOverdrawsAWindowAndNeverWaits) {
  Client client(last(), false);
  session::SessionId id = 0;
  last().call([&] { id = exec(last(), client, "many", "1000"); });
  // Two windows of 64 results of 1 KiB, no more; those beyond the credit wait for the client.
  EXPECT_LE(client.results, 64);
  EXPECT_FALSE(client.is_final());
  last().call([&] { client.read(id); });
  ASSERT_TRUE(client.wait());
  EXPECT_GT(client.results, 100);
  EXPECT_LT(client.results, 130);
  EXPECT_EQ(client.engine_message, "emitted " + std::to_string(client.results));
}

TEST_P(Inline, ASlowReaderStopsItsOwnCallsOnly) {
  Client slow(last(), false);
  Client quick(last());
  session::SessionId id = 0;
  const std::string kilobyte(1024, 'x');
  int accepted = 0;
  last().call([&] {
    id = open(last(), slow);
    while (write(last(), id, "echo", kilobyte) == session::FrameStatus::kAccepted) ++accepted;
    const auto other = open(last(), quick);
    for (int i = 0; i < 500; ++i) write(last(), other, "echo", kilobyte);
    last().core.input_end(other);
  });
  ASSERT_TRUE(quick.wait());
  EXPECT_EQ(quick.results, 500);
  EXPECT_LE(slow.results, 64);
  EXPECT_LT(accepted, 400);
  last().call([&] {
    last().core.input_end(id);
    slow.read(id);
  });
  ASSERT_TRUE(slow.wait());
  EXPECT_EQ(slow.results, accepted);
}

TEST_P(Inline, AThreadOfTheEngineWaitsForCreditAndFinishesTheCall) {
  Client client(last(), false);
  session::SessionId id = 0;
  last().call([&] { id = exec(last(), client, "later", "1000"); });
  last().call([&] { client.read(id); });
  ASSERT_TRUE(client.wait());
  EXPECT_EQ(client.results, 1000);
  EXPECT_EQ(client.reason, uint32_t{LOADER_REASON_FINISHED});
}

TEST_P(Inline, AThreadThatWaitsForCreditIsToldThatAnotherFinishedTheCall) {
  Client client(last(), false);
  last().call([&] { exec(last(), client, "leave_open", "1000"); });
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (last().call([&] { return client.results; }) < 60 && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
  Client other(last());
  last().call([&] { exec(last(), other, "finish", ""); });
  ASSERT_TRUE(client.wait());
  EXPECT_EQ(client.reason, uint32_t{LOADER_REASON_FINISHED});
  counters_.wait_for("ended", 1);
  EXPECT_EQ(counters_["refused"], 1);
}

TEST_P(Inline, ACancelledSessionIsDestroyedOnceWhateverItsThreadsDo) {
  Client client(last(), false);
  last().call([&] {
    const auto id = open(last(), client);
    write(last(), id, "later", "1000");
    last().core.cancel(id);
    EXPECT_TRUE(client.is_final());
  });
  EXPECT_EQ(client.reason, uint32_t{LOADER_REASON_CLIENT_CANCEL});
  EXPECT_EQ(counters_["destroyed"], 1);
  EXPECT_EQ(counters_["cancelled"], 1);
  counters_.wait_for("ended", 1);  // its finish does no harm
}

// The failure of a session, from a thread while no call runs, from one that waits for credit,
// inside a call, and while a call is PENDING: the results before it arrive, then it, and destroy
// once.
TEST_P(Inline, TheEngineEndsASessionByItself) {
  int sessions = 0;
  for (const char* key : {"break_later", "break", "break_call"}) {
    for (const bool reads : {true, false}) {
      Client client(last(), reads);
      session::SessionId id = 0;
      last().call([&] {
        id = open(last(), client);
        write(last(), id, key, "100");
      });
      if (!reads) {
        EXPECT_FALSE(last().call([&] { return client.is_final(); })) << "results wait before it";
        last().call([&] { client.read(id); });
      }
      ASSERT_TRUE(client.wait()) << key;
      EXPECT_EQ(client.results, 100) << key;
      EXPECT_EQ(client.reason, uint32_t{LOADER_REASON_ENGINE_ERROR});
      EXPECT_EQ(client.engine_code, 78);
      EXPECT_EQ(client.engine_message, "lost");
      ++sessions;
      counters_.wait_for("refused", 3 * sessions);
      counters_.wait_for("destroyed", sessions);
      EXPECT_EQ(counters_["failed"], sessions);
    }
  }
}

TEST_P(Inline, AFailureInsideCreateIsToldOnceItHasSucceeded) {
  counters_.set("breaks", 1);
  Client client(last());
  last().call([&] { open(last(), client); });
  ASSERT_TRUE(client.wait());
  EXPECT_EQ(client.results, 1);
  EXPECT_EQ(client.engine_code, 78);
  counters_.wait_for("destroyed", 1);
  EXPECT_EQ(counters_["reason"], LOADER_REASON_ENGINE_ERROR);
}

// Failures, finishes and results of the engine's threads meet cancels, ends and the end of the
// instance: each session ends once, for both sides.
TEST_P(Inline, WhatTheEnginesThreadsDoMeetsEveryEnd) {
  constexpr int kRounds = 42;
  const std::array<const char*, 6> keys = {"break_later", "break", "break_call",
                                           "later",       "never", "echo"};
  std::vector<std::unique_ptr<Client>> clients;
  for (int round = 0; round < kRounds; ++round) {
    for (auto& box : boxes_) {
      Client& client = *clients.emplace_back(std::make_unique<Client>(*box, round % 3 != 0));
      const auto id = box->call([&] {
        const auto opened = open(*box, client);
        write(*box, opened, keys[round % keys.size()], "100");
        return opened;
      });
      if (round % 4 == 1) box->loop.post([core = &box->core, id] { core->cancel(id); });
      if (round % 4 == 2) box->loop.post([core = &box->core, id] { core->input_end(id); });
      if (round % 4 == 3) box->loop.post([&client, id] { client.read(id); });
    }
  }
  close();
  for (auto& client : clients) EXPECT_TRUE(client->wait());
}

// An exec ends by its return.
TEST_P(Inline, AnExecDoesNotFailByItself) {
  Client client(last());
  last().call([&] { exec(last(), client, "break", "1"); });
  ASSERT_TRUE(client.wait());
  EXPECT_EQ(client.reason, uint32_t{LOADER_REASON_FINISHED});
  EXPECT_EQ(counters_["failed"], 0);
}

TEST_P(Inline, TheEndOfTheInstanceDestroysEachSessionOnceAndThenUnloads) {
  std::vector<std::unique_ptr<Client>> clients;
  for (auto& box : boxes_) {
    for (const char* key : {"never", "echo"}) {
      Client& client = *clients.emplace_back(std::make_unique<Client>(*box));
      box->call([&] { write(*box, open(*box, client), key, "x"); });
    }
  }
  close();
  for (auto& client : clients) EXPECT_TRUE(client->wait());
  EXPECT_EQ(counters_["destroyed"], static_cast<int>(clients.size()));
  EXPECT_EQ(counters_["reason"], LOADER_REASON_KICKED);
}

TEST_P(Inline, FiniWaitsForABufferThatIsOnItsWayToAClient) {
  Client client(last());
  client.keeps_payloads = true;
  last().call([&] { exec(last(), client, "lent", ""); });
  ASSERT_EQ(client.results, 1);
  EXPECT_EQ(counters_["released"], 0);
  close();
  EXPECT_EQ(counters_["finished"], 0);
  last().call([&] { client.release_kept(); });
  EXPECT_EQ(counters_["released"], 1);
}

TEST_P(Inline, OneThreadMeansOneCallAtATime) {
  std::vector<std::thread> threads;
  for (auto& box : boxes_) {
    threads.emplace_back([this, one = box.get()] {
      for (int i = 0; i < 50; ++i) {
        Client client(*one);
        one->call([&] {
          for (int k = 0; k < 20; ++k) {
            Client each(*one);
            exec(*one, each, "echo", "x");
          }
        });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counters_["overlaps"], 0);
  EXPECT_EQ(counters_["calls"], static_cast<int>(1000 * boxes_.size()));
}

class InlineStuck : public Inline {
 protected:
  void SetUp() override {
    channel::InitBody init;
    init.call_timeout_ns = 1'000'000;
    start(init);
  }
};

TEST_P(InlineStuck, ACallThatHoldsTheShardIsReported) {
  Client client(last());
  auto told = stuck_.get_future();
  last().loop.post([&] { exec(last(), client, "gate", "x"); });
  EXPECT_EQ(told.wait_for(kPatience), std::future_status::ready);
  counters_.open_gate();
  ASSERT_TRUE(client.wait());
  EXPECT_EQ(told.get(), GetParam() - 1);
}

INSTANTIATE_TEST_SUITE_P(Shards, Inline, testing::Values(1u, 3u));
INSTANTIATE_TEST_SUITE_P(Shards, InlineStuck, testing::Values(1u, 3u));

}  // namespace
}  // namespace loader::server
