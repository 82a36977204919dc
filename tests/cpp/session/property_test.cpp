// Random event orders over 1 and 3 shards, several instances, fronts that come and go, hosts that
// complete at random and die: whatever the order, no slot leaks or is released twice, destroy comes
// exactly once, final exactly once, and memory stays bounded. Seeds are fixed; a failure names its
// own.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "support.h"

namespace loader::session::test {
namespace {

constexpr uint64_t kWindow = 256;
constexpr uint64_t kLargestMessage = 400;

EngineOptions small_options() {
  EngineOptions options;
  options.window_bytes = kWindow;
  options.window_records = 6;
  options.queue_bytes = kWindow;
  options.admission_wait_ns = 50 * kMs;
  options.idle_timeout_ns = 100 * kMs;
  options.call_timeout_ns = 300 * kMs;
  options.create_timeout_ns = 300 * kMs;
  options.destroy_timeout_ns = 300 * kMs;
  options.hang_grace_ns = 50 * kMs;
  options.detached_timeout_ns = 200 * kMs;
  return options;
}

struct Client {
  explicit Client(uint32_t on_shard) : shard(on_shard) {}
  uint32_t shard;
  SessionId id = 0;
  Kind kind = Kind::kSession;
  bool is_detached = false;
  bool is_input_ended = false;
  std::unique_ptr<TestFront> front = std::make_unique<TestFront>();
};

struct Instance {
  InstanceId id = 0;
  std::vector<std::unique_ptr<TestHost>> hosts;  // by shard
  std::set<uint32_t> deaths_to_tell;             // shards that do not know yet
  bool is_dead = false;
};

// Everything random about a run; deterministic in its seed.
class RandomWorld {
 public:
  RandomWorld(uint32_t seed, uint32_t shard_count)
      : random_(seed), pool_(std::make_shared<SlotPool>(sink_, kSlots, 5)) {
    for (uint32_t i = 0; i < shard_count; ++i) {
      shards_.push_back(std::make_unique<Shard>(i, events_));
      shards_.back()->set_now(now_);
      shards_.back()->add_engine(kEngine, pool_, small_options());
    }
    add_instance();
    add_instance();
  }

  using Reasons = std::array<uint64_t, kReasonCount>;

  // Adds how many sessions ended for which reason.
  void run(int steps, Reasons& reasons) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      step();
      check_bounds();
    }
    wind_down();
    check_end();
    for (auto& shard : shards_) {
      const Reasons& closed = shard->counters(kEngine)->closed;
      for (size_t i = 0; i < reasons.size(); ++i) reasons[i] += closed[i];
    }
  }

 private:
  static constexpr uint32_t kSlots = 2;

  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  bool chance(uint32_t percent) { return below(100) < percent; }
  Shard& shard_of_client(const Client& client) { return *shards_[client.shard]; }

  void add_instance() {
    auto instance = std::make_unique<Instance>();
    instance->id = ++last_instance_;
    for (auto& shard : shards_) {
      auto host = std::make_unique<TestHost>();
      // Sometimes an inline engine: it completes inside the call.
      if (below(4) == 0) make_inline(*host, *shard);
      shard->add_port(instance->id, kEngine, *host);
      instance->hosts.push_back(std::move(host));
    }
    pool_->add_instance(instance->id);
    instances_.push_back(std::move(instance));
  }

  void make_inline(TestHost& host, Shard& shard) {
    TestHost* at = &host;
    Shard* to = &shard;
    host.at_call = [this, at, to](Handle handle, Op) {
      if (!chance(50) || at->work[handle].running.size() != 1) return;
      if (chance(50)) at->emit(*to, handle, std::string(below(kLargestMessage), 'i'));
      if (!at->work[handle].running.empty()) {
        EXPECT_EQ(complete(*at, *to, handle), HostVerdict::kOk);
      }
    };
  }

  HostVerdict complete(TestHost& host, Shard& shard, Handle handle) {
    return host.complete(shard, handle, chance(8) ? 9 : 0, "engine says no");
  }

  Client* any_client() {
    return clients_.empty() ? nullptr
                            : clients_[below(static_cast<uint32_t>(clients_.size()))].get();
  }

  void step() {
    switch (below(16)) {
      case 0:
      case 1:
        return open();
      case 2:
      case 3:
      case 4:
        return write();
      case 5:
        return end_or_cancel();
      case 6:
      case 7:
      case 8:
      case 9:
        return host_step();
      case 10:
        return deliver_grant();
      case 11:
        return consume();
      case 12:
        return detach_or_attach();
      case 13:
        return advance(static_cast<int64_t>(below(60)) * kMs);
      case 14:
        return supervise();
      default:
        return operate();
    }
  }

  void open() {
    clients_.push_back(std::make_unique<Client>(below(static_cast<uint32_t>(shards_.size()))));
    Client& client = *clients_.back();
    client.kind = chance(40) ? Kind::kExec : Kind::kSession;
    Shard& shard = shard_of_client(client);
    if (chance(10)) client.front->at_result = [&shard](SessionId id) { shard.cancel(id); };
    if (chance(5)) client.front->at_opened = [&shard](SessionId id) { shard.cancel(id); };
    OpenRequest request;
    request.kind = client.kind;
    request.engine = kEngine;
    request.priority = static_cast<int32_t>(below(3));
    request.front = client.front.get();
    if (chance(20)) request.deadline_ns = now_ + static_cast<int64_t>(below(300)) * kMs;
    if (chance(10)) request.admission_wait_ns = 0;
    const std::string input(below(kLargestMessage), 'q');
    request.request = view_of(input);
    request.body = request.request.body;
    client.id = shard.open(request);
  }

  void write() {
    Client* client = any_client();
    if (client == nullptr || client->is_detached || client->front->finals > 0) return;
    const std::string bytes(below(kLargestMessage), 'f');
    const PayloadView payload{view_of(bytes).body, &owner_, 0};
    MessageView frame = view_of(bytes, bytes.size());
    if (chance(20)) frame.payloads = {&payload, 1};
    const FrameResult result = shard_of_client(*client).frame(client->id, frame);
    if (client->is_input_ended || client->kind == Kind::kExec) {
      EXPECT_NE(result.status, FrameStatus::kAccepted);
    }
  }

  void end_or_cancel() {
    Client* client = any_client();
    if (client == nullptr || client->id == 0) return;
    Shard& shard = shard_of_client(*client);
    if (chance(60)) {
      if (client->front->finals > 0 || client->is_detached) return;
      client->is_input_ended = true;
      shard.input_end(client->id);
    } else {
      shard.cancel(client->id, {.reason = LOADER_REASON_CLIENT_GONE});
      if (client->is_detached) client->is_detached = false;
    }
  }

  void detach_or_attach() {
    Client* client = any_client();
    if (client == nullptr) return;
    Shard& shard = shard_of_client(*client);
    if (!client->is_detached) {
      client->is_detached = shard.detach(client->id) == ErrorCode::kNone;
      if (client->is_detached) ++detached_;
      return;
    }
    // The old front is gone for good; what it saw is checked by then.
    auto fresh = std::make_unique<TestFront>();
    const bool is_opened = client->front->opened > 0;
    const ErrorCode error = shard.attach(client->id, *fresh);
    if (error != ErrorCode::kNone) return;  // abandoned meanwhile
    if (is_opened) {
      EXPECT_EQ(fresh->opened, 0) << "opened was said to two fronts";
    }
    if (is_opened) fresh->opened = 1;
    client->is_detached = false;
    --detached_;
    EXPECT_EQ(client->front->finals, 0);
    client->front = std::move(fresh);
  }

  void consume() {
    Client* client = any_client();
    if (client != nullptr) client->front->consume(shard_of_client(*client), client->id);
  }

  // One thing that one host does: complete, emit, or report a hung call.
  void host_step() {
    Instance& instance = *instances_[below(static_cast<uint32_t>(instances_.size()))];
    if (instance.is_dead) return;
    const uint32_t s = below(static_cast<uint32_t>(shards_.size()));
    TestHost& host = *instance.hosts[s];
    std::vector<Handle> running;
    for (auto& [handle, work] : host.work) {
      if (!work.running.empty()) running.push_back(handle);
    }
    if (running.empty()) return;
    const Handle handle = running[below(static_cast<uint32_t>(running.size()))];
    if (chance(40)) {
      host.emit(*shards_[s], handle, std::string(below(kLargestMessage), 'r'));
    } else if (chance(2)) {
      EXPECT_EQ(shards_[s]->on_hung(handle), HostVerdict::kOk);
    } else {
      EXPECT_EQ(complete(host, *shards_[s], handle), HostVerdict::kOk);
    }
  }

  void deliver_grant() {
    if (sink_.posted.empty()) return;
    // Any order between shards, in order within one.
    const uint32_t shard =
        shard_of(sink_.posted[below(static_cast<uint32_t>(sink_.posted.size()))].session);
    for (size_t i = 0; i < sink_.posted.size(); ++i) {
      if (shard_of(sink_.posted[i].session) != shard) continue;
      const Grant grant = sink_.posted[i];
      sink_.posted.erase(sink_.posted.begin() + static_cast<ptrdiff_t>(i));
      return shards_[shard]->on_slot_granted(grant);
    }
  }

  void advance(int64_t by_ns) {
    now_ += by_ns;
    for (auto& shard : shards_) shard->advance(now_);
  }

  void kill(Instance& instance) {
    if (instance.is_dead) return;
    instance.is_dead = true;
    pool_->retire_instance(instance.id);
    for (uint32_t i = 0; i < shards_.size(); ++i) instance.deaths_to_tell.insert(i);
  }

  void tell_one_death(Instance& instance) {
    if (instance.deaths_to_tell.empty()) return;
    const uint32_t shard = *instance.deaths_to_tell.begin();
    instance.deaths_to_tell.erase(shard);
    shards_[shard]->on_host_died(instance.id);
    if (instance.deaths_to_tell.empty()) add_instance();
  }

  // The supervisor: kills what is to be killed, tells deaths, restarts; sometimes a host crashes.
  void supervise() {
    for (InstanceId id : events_.killed) {
      for (auto& instance : instances_) {
        if (instance->id == id) kill(*instance);
      }
    }
    events_.killed.clear();
    Instance& instance = *instances_[below(static_cast<uint32_t>(instances_.size()))];
    if (chance(20)) kill(instance);
    const size_t count = instances_.size();
    for (size_t i = 0; i < count; ++i) tell_one_death(*instances_[i]);
  }

  void operate() {
    Shard& shard = *shards_[below(static_cast<uint32_t>(shards_.size()))];
    Client* client = any_client();
    switch (below(8)) {
      case 0:
        return shard.close_all(Event::kReplaced);
      case 1:
        return pool_->set_slots_per_instance(1 + below(3));
      case 2:
        if (client != nullptr) shard_of_client(*client).kick(client->id, "kicked");
        return;
      default:
        return;
    }
  }

  void check_bounds() {
    for (auto& shard : shards_) {
      shard->for_each_session([](const SessionInfo& info) {
        // Queue and result window, each overdrawn once by one message with its payload.
        EXPECT_LE(info.queued_bytes, 2 * kWindow + 2 * 2 * kLargestMessage);
      });
    }
    EXPECT_LE(pool_->state().waiting, 5u);
  }

  // The clients leave, the hosts finish, the clocks run out.
  void wind_down() {
    for (auto& client : clients_) shard_of_client(*client).cancel(client->id);
    for (int round = 0; round < 200; ++round) {
      while (!sink_.posted.empty()) deliver_grant();
      for (auto& instance : instances_) finish_all(*instance);
      const size_t count = instances_.size();
      for (size_t i = 0; i < count; ++i) tell_one_death(*instances_[i]);
      size_t left = 0;
      for (auto& shard : shards_) left += shard->session_count();
      if (left == 0 && sink_.posted.empty()) return;
    }
  }

  void finish_all(Instance& instance) {
    if (instance.is_dead) return;
    for (uint32_t s = 0; s < shards_.size(); ++s) {
      TestHost& host = *instance.hosts[s];
      for (auto& [handle, work] : host.work) {
        while (!work.running.empty()) complete(host, *shards_[s], handle);
      }
    }
  }

  void check_end() {
    for (auto& shard : shards_) {
      EXPECT_EQ(shard->session_count(), 0u);
      const EngineCounters& counters = *shard->counters(kEngine);
      EXPECT_EQ(counters.queued, 0u);
      EXPECT_EQ(counters.open_sessions, 0u);
      EXPECT_EQ(counters.queued_input_bytes, 0u);
      EXPECT_EQ(counters.queued_result_bytes, 0u);
      uint64_t closed = 0;
      for (uint64_t count : counters.closed) closed += count;
      EXPECT_EQ(closed, counters.sessions_opened + counters.execs_started);
    }
    EXPECT_EQ(pool_->state().used, 0u) << "a slot leaked";
    EXPECT_EQ(pool_->state().waiting, 0u);
    EXPECT_EQ(owner_.count, 0) << "a payload leaked";
    int silent = 0;
    for (auto& client : clients_) silent += client->front->finals == 0 ? 1 : 0;
    EXPECT_LE(silent, detached_) << "a client that stayed got no final";
    for (auto& instance : instances_) check_host(*instance);
  }

  void check_host(const Instance& instance) {
    for (const auto& host : instance.hosts) {
      for (const auto& [handle, work] : host->work) {
        if (instance.is_dead) continue;  // the operating system was the destructor
        EXPECT_EQ(work.destroys, work.is_created ? 1 : 0) << "destroy exactly once";
      }
    }
  }

  std::mt19937 random_;
  int64_t now_ = kSecond;
  PostedGrants sink_;
  TestEvents events_;
  CountedOwner owner_;
  std::shared_ptr<SlotPool> pool_;
  InstanceId last_instance_ = 0;
  int detached_ = 0;  // clients that left and did not come back
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::unique_ptr<Instance>> instances_;
  std::vector<std::unique_ptr<Shard>> shards_;
};

class Property : public testing::TestWithParam<uint32_t> {};

// Any order of events keeps the promises.
TEST_P(Property, RandomOrdersKeepThePromises) {
  RandomWorld::Reasons reasons{};
  for (uint32_t seed = 1; seed <= 6000; ++seed) {
    RandomWorld(seed, GetParam()).run(80 + static_cast<int>(seed % 120), reasons);
    ASSERT_FALSE(HasFailure()) << "seed " << seed << " with " << GetParam() << " shards";
  }
  // The walk got around: sessions ended in every way that this world has.
  for (uint32_t reason :
       {LOADER_REASON_FINISHED, LOADER_REASON_CLIENT_CANCEL, LOADER_REASON_CLIENT_GONE,
        LOADER_REASON_DEADLINE, LOADER_REASON_IDLE_TIMEOUT, LOADER_REASON_ENGINE_ERROR,
        LOADER_REASON_CALL_HUNG, LOADER_REASON_HOST_DIED, LOADER_REASON_REPLACED,
        LOADER_REASON_KICKED, LOADER_REASON_CREATE_FAILED, LOADER_REASON_ADMISSION}) {
    RecordProperty(std::string(reason_name(reason)), std::to_string(reasons[reason]));
    EXPECT_GT(reasons[reason], 20u) << reason_name(reason);
  }
}

INSTANTIATE_TEST_SUITE_P(Shards, Property, testing::Values(1u, 3u));

}  // namespace
}  // namespace loader::session::test
