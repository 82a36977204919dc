// The loader's end of a channel without a loop that runs: a real channel, a core, and the test as
// the engine's host.
#include "server/host_link.h"

#include <gtest/gtest.h>

#include <vector>

#include "channel/endpoint.h"
#include "loader/wrapper.h"

namespace loader::server {
namespace {

constexpr session::EngineId kEngine = 1;
constexpr session::InstanceId kInstance = 1;
constexpr size_t kCalls = 8;
constexpr size_t kArenaBytes = 1 << 20;
constexpr size_t kResultBytes = kArenaBytes / 2;  // in a memory file of its own

class Owner : public LinkOwner {
 public:
  void on_link_hello(InstanceLink&, const channel::Hello&) override {}
  void on_link_ready(InstanceLink&, const channel::ReadyBody&) override {}
  void on_link_completion(InstanceLink&, uint64_t, const channel::CompletionBody&) override {}
  void on_link_pong(InstanceLink&, uint64_t) override {}
  void on_link_log(InstanceLink&, uint64_t, const channel::LogBody&) override {}
  void on_link_meter(InstanceLink&, uint64_t, const channel::MeterBody&) override {}
  void on_link_trace(InstanceLink&, uint64_t, const channel::TraceBody&) override {}
  void on_link_lost(InstanceLink&, bool, const std::string& why) override { ADD_FAILURE() << why; }
  void on_link_dirty(InstanceLink&) override {}
  std::string session_id(session::SessionId) const override { return "test"; }
};

class Client : public session::Front {
 public:
  void on_opened(session::SessionId) override {}
  void on_result(session::SessionId, const session::MessageView& result) override {
    bytes += result.size_bytes();
  }
  void on_input_credit(session::SessionId, uint64_t) override {}
  void on_final(session::SessionId, const session::FinalView& final) override {
    reason = final.reason;
  }
  uint64_t bytes = 0;
  uint32_t reason = 0;
};

class HostLinkTest : public testing::Test, public session::ShardEvents, public session::GrantSink {
 protected:
  void on_instance_hung(session::InstanceId, session::SessionId) override {}
  void on_kill_instance(session::InstanceId) override {}
  void on_drained() override {}
  void post_grant(const session::Grant&) override {}

  void SetUp() override {
    auto [mine, theirs] = channel::create_channel(kArenaBytes);
    link_ = std::make_unique<HostLink>(kInstance, loop_, core_, owner_, std::move(mine),
                                       ServerOptions{});
    host_ = channel::open_channel(std::move(theirs));
    core_.set_now(loop_.now_ns());
    core_.add_engine(kEngine, pool_, {});
    link_->start({});
    core_.add_port(kInstance, kEngine, *link_);
    pool_->add_instance(kInstance);
  }

  session::SessionId exec(Client& client) {
    session::OpenRequest request;
    request.kind = session::Kind::kExec;
    request.engine = kEngine;
    request.front = &client;
    return core_.open(request);
  }

  // A result of so many bytes and the end of the call, as a host sends them.
  void answer(session::SessionId call, size_t size) {
    channel::OutPayload payload = host_.out->allocate(size);
    uint8_t* body = host_.socket->begin(channel::RecordType::kResult, call, 1, {&payload.ref(), 1});
    *body = 0;
    host_.socket->attach(payload.mark_sent());
    channel::CompletionBody completion;
    completion.operation = channel::Operation::kExec;
    host_.socket->append_body(channel::RecordType::kCompletion, call, completion);
  }

  EventLoop loop_;
  Owner owner_;
  session::Shard core_{0, *this};
  std::shared_ptr<session::SlotPool> pool_ = std::make_shared<session::SlotPool>(*this, kCalls, 1);
  std::unique_ptr<HostLink> link_;
  channel::Endpoint host_;
};

// Each memory file cuts a read of the socket short.
TEST_F(HostLinkTest, EverythingThatWasSentBeforeTheEndIsTaken) {
  std::vector<Client> clients(kCalls);
  std::vector<session::SessionId> calls;
  for (Client& client : clients) calls.push_back(exec(client));
  host_.socket->append_body(channel::RecordType::kHello, 0, channel::Hello{});
  for (session::SessionId call : calls) answer(call, kResultBytes);
  ASSERT_EQ(host_.socket->flush(), channel::FlushStatus::kEmpty);
  host_ = {};
  link_->drain();
  link_->close(LOADER_REASON_HOST_DIED);
  core_.on_host_died(kInstance);
  for (const Client& client : clients) {
    EXPECT_EQ(client.reason, uint32_t{LOADER_REASON_FINISHED});
    EXPECT_EQ(client.bytes, kResultBytes + 1);
  }
}

}  // namespace
}  // namespace loader::server
