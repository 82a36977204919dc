// What the authorizer refuses once the engine is known, on each method: code, reason, count. (What
// a client alone can provoke is tested end to end in tests/integration/server.)
#include <gtest/gtest.h>

#include <cstdlib>

#include "server/call_front.h"
#include "server/plane.h"
#include "server/wire.h"

namespace loader::server {
namespace {

class RefuseEngines : public Authorizer {
 public:
  explicit RefuseEngines(ErrorCode code) : code_(code) {}
  ErrorReport allow(const grpc::Peer&, const grpc::Metadata&, std::string_view,
                    std::string_view engine) const override {
    if (engine.empty()) return {};
    return {code_, "not for " + std::string(engine), 0, {}};
  }

 private:
  const ErrorCode code_;
};

struct NoGrants : session::GrantSink {
  void post_grant(const session::Grant&) override {}
};

// The client's side: what was sent, and the status.
class Recorded : public grpc::Call {
 public:
  std::string_view path() const override { return "/"; }
  std::string_view authority() const override { return {}; }
  std::string_view user_agent() const override { return {}; }
  const grpc::Metadata& metadata() const override { return metadata_; }
  const grpc::Peer& peer() const override { return peer_; }
  int64_t deadline_ns() const override { return INT64_MAX; }
  grpc::Server& server() override { std::abort(); }
  uint64_t id() const override { return 1; }
  bool send_headers(const grpc::Metadata&) override { return true; }
  using Call::send_message;
  bool send_message(grpc::Parts parts, bool) override {
    std::string& message = sent.emplace_back();
    for (std::string_view part : parts) message += part;
    return true;
  }
  bool send_message(grpc::Parts, grpc::Payload, grpc::Parts) override { return true; }
  size_t queued_bytes() const override { return 0; }
  using Call::finish;
  void finish(const grpc::Status& given, const grpc::Metadata&) override { status = given; }
  void consume(size_t) override {}
  bool is_cancelled() const override { return false; }

  std::vector<std::string> sent;
  grpc::Status status;

 private:
  grpc::Metadata metadata_;
  grpc::Peer peer_;
};

struct Scene {
  explicit Scene(ErrorCode code) {
    plane.authorizer = std::make_shared<RefuseEngines>(code);
    plane.shards.push_back(std::make_unique<ShardContext>(0, plane));
    EngineOptions options;
    EngineFacts facts;
    facts.schema = Schema::parse("");
    shard().add_engine(std::make_shared<EngineShared>(1, "echo", "1", options, sink), options,
                       facts);
    shard().routes().set("echo", {{1, "1", 100, {}, {}}});
  }
  ShardContext& shard() { return *plane.shards[0]; }

  NoGrants sink;
  Plane plane;
};

std::string field(uint32_t number, std::string_view bytes) {
  std::string out;
  append_bytes(out, number, bytes);
  return out;
}

void send(grpc::CallHandler& handler, std::string_view bytes) {
  grpc::Message message(bytes, nullptr, false, 0);
  handler.on_message(message);
}

// Final.reason of a message whose field `number` is the final.
uint64_t reason_in(const std::string& message, uint32_t number) {
  WireReader outer(message);
  EXPECT_TRUE(outer.next());
  EXPECT_EQ(outer.field(), number);
  WireReader in(outer.bytes());
  while (in.next()) {
    if (in.field() == 1) return in.number();
  }
  return 0;
}

const std::string kTarget = field(1, field(1, "echo"));  // target, the first field of each request

class Refusal : public testing::TestWithParam<ErrorCode> {
 protected:
  void expect_refused(const Recorded& call) {
    const ErrorRow& row = error_row(GetParam());
    EXPECT_EQ(static_cast<int>(call.status.code), static_cast<int>(row.grpc));
    EXPECT_NE(call.status.details.find(row.name), std::string::npos);
    EXPECT_EQ(scene.shard().refusals().at(GetParam()), 1u);
    EXPECT_EQ(scene.shard().core().counters(1)->sessions_opened, 0u);
    EXPECT_EQ(scene.shard().core().counters(1)->execs_started, 0u);
  }
  Scene scene{GetParam()};
  Recorded call;
};

TEST_P(Refusal, OfASession) {
  SessionFront front(scene.shard(), call);
  send(front, field(1, kTarget));
  expect_refused(call);
  ASSERT_EQ(call.sent.size(), 1u);
  EXPECT_EQ(reason_in(call.sent[0], 5), session::kReasonRefused);
}

TEST_P(Refusal, OfAStreamedExec) {
  ExecStreamFront front(scene.shard(), call);
  send(front, kTarget);
  expect_refused(call);
  ASSERT_EQ(call.sent.size(), 1u);
  EXPECT_EQ(reason_in(call.sent[0], 2), session::kReasonRefused);
}

TEST_P(Refusal, OfAnExec) {
  ExecFront front(scene.shard(), call);
  send(front, kTarget);
  expect_refused(call);
  EXPECT_TRUE(call.sent.empty());
}

INSTANTIATE_TEST_SUITE_P(Authorizer, Refusal,
                         testing::Values(ErrorCode::UNAUTHENTICATED, ErrorCode::PERMISSION_DENIED));

}  // namespace
}  // namespace loader::server
