#include "loader_end.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "frame/frame_codec.h"

namespace loader::host::test {

using channel::Operation;
using channel::RecordType;

namespace {

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

LoaderEnd::LoaderEnd(Engine& engine, Setup setup)
    : setup_(std::move(setup)),
      done_(std::make_shared<std::pair<std::mutex, std::condition_variable>>()),
      exit_code_(std::make_shared<std::optional<int>>()) {
  RuntimeOptions options;
  options.owns_process = false;
  for (uint32_t shard = 0; shard < setup_.shards; ++shard) {
    auto [mine, theirs] = channel::create_channel();
    endpoints_.push_back(std::move(mine));
    if (setup_.socket_bytes != 0)
      ::setsockopt(theirs.socket.get(), SOL_SOCKET, SO_SNDBUF, &setup_.socket_bytes, sizeof(int));
    options.channels.push_back(
        {theirs.socket.release(), theirs.arena_in.release(), theirs.arena_out.release()});
  }
  runtime_ = std::make_unique<HostRuntime>(engine, std::move(options));
  thread_ = std::thread([runtime = runtime_.get(), done = done_, exit_code = exit_code_] {
    const int code = runtime->run();
    std::lock_guard lock(done->first);
    *exit_code = code;
    done->second.notify_all();
  });
  for (uint32_t shard = 0; shard < setup_.shards; ++shard) {
    channel::Hello hello;
    hello.shard = shard;
    hello.shard_count = setup_.shards;
    hello.package_version = package_version_of_build();
    hello.runtime = "loader";
    send_body(RecordType::kHello, 0, hello, shard);
  }
}

LoaderEnd::~LoaderEnd() {
  vanish();
  join();
}

int LoaderEnd::join(int limit_ms) {
  {
    std::unique_lock lock(done_->first);
    const bool is_done = done_->second.wait_for(lock, std::chrono::milliseconds(limit_ms),
                                                [this] { return exit_code_->has_value(); });
    if (!is_done) {
      std::fprintf(stderr, "the runtime did not return from run()\n");
      std::abort();  // its thread cannot be stopped: nothing after this would be true
    }
  }
  if (thread_.joinable()) thread_.join();
  return **exit_code_;
}

Answer LoaderEnd::start() {
  begin();
  return wait_for(0, Operation::kInit);
}

void LoaderEnd::begin() {
  channel::InitBody body;
  body.engine = "engine";
  body.version = "1";
  body.directory = setup_.directory;
  body.entry = setup_.entry;
  body.json = setup_.json;
  body.slots = 64;
  body.threads = setup_.threads;
  body.call_timeout_ns = setup_.call_timeout_ns;
  send_body(RecordType::kInit, 0, body, 0);
}

std::vector<uint8_t> LoaderEnd::open_body(uint32_t records, uint64_t bytes, int64_t deadline_ns) {
  channel::OpenBody open;
  open.session_id = "s";
  open.window_records = records;
  open.window_bytes = bytes;
  open.deadline_ns = deadline_ns;
  for (const auto& [key, value] : setup_.parameters) open.parameters.push_back({key, value});
  std::vector<uint8_t> body(size_of(open));
  channel::write(open, body.data());
  return body;
}

uint64_t LoaderEnd::create(uint64_t handle, uint32_t records, uint64_t bytes, uint32_t shard,
                           int64_t deadline_ns) {
  send(RecordType::kCreate, handle, open_body(records, bytes, deadline_ns), {}, shard);
  return handle;
}

void LoaderEnd::append_frame(std::vector<uint8_t>& body, const std::vector<Item>& items,
                             std::vector<channel::OutPayload>& outside, uint32_t shard) {
  frame::FrameView view;
  view.seq = ++seq_;
  for (const Item& item : items) {
    const frame::Bytes data(reinterpret_cast<const uint8_t*>(item.data.data()), item.data.size());
    const bool is_small = data.size() <= channel::kInlinePayloadBytes;
    frame::ItemView& made = view.add_item(item.key, is_small ? data : frame::Bytes());
    made.type = item.type;
    made.status = item.status;
    if (!is_small) {
      outside.push_back(endpoints_[shard].out->allocate(data.size()));
      std::memcpy(outside.back().bytes().data(), data.data(), data.size());
      made.payload = static_cast<uint32_t>(outside.size());
    }
    for (const auto& [key, value] : item.attributes) view.add_attribute(key, value);
  }
  const size_t begin = body.size();
  body.resize(begin + frame::encoded_size(view));
  frame::write_frame(view, body.data() + begin);
}

void LoaderEnd::write(uint64_t handle, const std::vector<Item>& items, uint32_t shard) {
  std::vector<uint8_t> body;
  std::vector<channel::OutPayload> outside;
  append_frame(body, items, outside, shard);
  send(RecordType::kWrite, handle, body, std::move(outside), shard);
}

void LoaderEnd::exec(uint64_t handle, const std::vector<Item>& items, uint32_t shard) {
  std::vector<uint8_t> body = open_body(256, 64 * 1024, channel::kNoDeadline);
  std::vector<channel::OutPayload> outside;
  append_frame(body, items, outside, shard);
  send(RecordType::kExec, handle, body, std::move(outside), shard);
}

void LoaderEnd::send(RecordType type, uint64_t handle, const std::vector<uint8_t>& body,
                     std::vector<channel::OutPayload> outside, uint32_t shard) {
  std::vector<channel::PayloadRef> references;
  for (const auto& payload : outside) references.push_back(payload.ref());
  endpoints_[shard].socket->append(type, handle, body, references);
  for (auto& payload : outside) {
    channel::UniqueFd memfd = payload.mark_sent();
    if (memfd) endpoints_[shard].socket->attach(std::move(memfd));
  }
  flush(shard);
}

template <typename Body>
void LoaderEnd::send_body(RecordType type, uint64_t handle, const Body& body, uint32_t shard) {
  endpoints_[shard].socket->append_body(type, handle, body);
  flush(shard);
}

void LoaderEnd::flush(uint32_t shard) {
  endpoints_[shard].socket->flush();
}
void LoaderEnd::end(uint64_t handle, uint32_t shard) {
  send(RecordType::kEnd, handle, {}, {}, shard);
}
void LoaderEnd::cancel(uint64_t handle, uint32_t shard) {
  send_body(RecordType::kCancel, handle, channel::ReasonBody{LOADER_REASON_CLIENT_CANCEL}, shard);
}
void LoaderEnd::destroy(uint64_t handle, uint32_t shard) {
  send_body(RecordType::kDestroy, handle, channel::ReasonBody{LOADER_REASON_FINISHED}, shard);
}
void LoaderEnd::grant(uint64_t handle, uint32_t records, uint64_t bytes, uint32_t shard) {
  send_body(RecordType::kCredit, handle, channel::CreditBody{records, bytes}, shard);
}
void LoaderEnd::ping(uint64_t nonce) {
  send_body(RecordType::kPing, 0, channel::PingBody{nonce}, 0);
}
void LoaderEnd::health() {
  send(RecordType::kHealth, 0, {}, {}, 0);
}
void LoaderEnd::load_resource(uint64_t call, uint32_t id, const std::vector<Item>& items) {
  std::vector<uint8_t> body(size_of(channel::ResourceBody{id}));
  channel::write(channel::ResourceBody{id}, body.data());
  std::vector<channel::OutPayload> outside;
  append_frame(body, items, outside, 0);
  send(RecordType::kLoadResource, call, body, std::move(outside), 0);
}
void LoaderEnd::unload_resource(uint64_t call, uint32_t id) {
  send_body(RecordType::kUnloadResource, call, channel::ResourceBody{id}, 0);
}
void LoaderEnd::update(const std::string& json) {
  channel::InitBody body;
  body.engine = "engine";
  body.json = json;
  send_body(RecordType::kUpdate, 0, body, 0);
}
void LoaderEnd::raw(const std::string& bytes) {
  ASSERT_EQ(::write(endpoints_[0].socket->fd(), bytes.data(), bytes.size()),
            static_cast<ssize_t>(bytes.size()));
}
void LoaderEnd::vanish() {
  endpoints_.clear();
}

int LoaderEnd::stop() {
  send_body(RecordType::kFini, 0, channel::ReasonBody{LOADER_REASON_DRAIN}, 0);
  return join();
}

bool LoaderEnd::on_record(channel::RecordView& record) {
  Answer answer;
  answer.type = record.type;
  answer.handle = record.handle;
  answer.shard = reading_;
  channel::CompletionBody completion;
  channel::ReadyBody ready;
  channel::LogBody log;
  channel::PingBody ping;
  channel::HungBody hung;
  channel::FailureBody failure;
  channel::ReleaseBody release;
  channel::MeterBody meter;
  channel::TraceBody trace;
  switch (record.type) {
    case RecordType::kCompletion:
      EXPECT_TRUE(decode(record.body, completion));
      answer.operation = completion.operation;
      answer.status = completion.status;
      answer.error_code = completion.error_code;
      answer.text = completion.message;
      break;
    case RecordType::kResult:
      read_result(record, answer);
      break;
    case RecordType::kReady:
      EXPECT_TRUE(decode(record.body, ready));
      answer.flags = ready.flags;
      answer.text = ready.describe_json;
      answer.version = ready.version;
      break;
    case RecordType::kLog:
      EXPECT_TRUE(decode(record.body, log));
      answer.text = log.text;
      break;
    case RecordType::kMeter:
      EXPECT_TRUE(decode(record.body, meter));
      answer.text = std::string(meter.unit) + " " + std::to_string(meter.amount);
      break;
    case RecordType::kTrace:
      EXPECT_TRUE(decode(record.body, trace));
      answer.text = std::string(trace.key) + " " + std::string(trace.value);
      break;
    case RecordType::kPong:
      EXPECT_TRUE(decode(record.body, ping));
      answer.nonce = ping.nonce;
      break;
    case RecordType::kHung:
      EXPECT_TRUE(decode(record.body, hung));
      answer.operation = hung.operation;
      break;
    case RecordType::kFailure:
      EXPECT_TRUE(decode(record.body, failure));
      answer.status = failure.status;
      answer.text = failure.message;
      break;
    case RecordType::kRelease:
      EXPECT_TRUE(decode(record.body, release));
      for (const uint32_t block : release.blocks)
        EXPECT_TRUE(endpoints_[reading_].out->release(block));
      break;
    default:
      break;
  }
  answers_.push_back(std::move(answer));
  return true;
}

void LoaderEnd::read_result(channel::RecordView& record, Answer& answer) {
  answer.charge = record.body.size() + record.payload_bytes();
  std::vector<channel::Payload> payloads;
  EXPECT_TRUE(endpoints_[reading_].in->open(record, payloads));
  frame::FrameView view;
  EXPECT_EQ(frame::decode_frame(record.body, frame::Origin::kNode, view,
                                static_cast<uint32_t>(payloads.size())),
            frame::Fault::kNone);
  answer.seq = view.seq;
  for (const auto& item : view.items) {
    const auto data = item.payload == 0 ? item.data : payloads[item.payload - 1].bytes();
    Item& read = answer.items.emplace_back();
    read.key = item.key;
    read.data = std::string(reinterpret_cast<const char*>(data.data()), data.size());
    read.type = item.type;
    read.status = item.status;
    for (uint32_t i = 0; i < item.attribute_count; ++i) {
      const auto& pair = view.attributes[item.attribute_begin + i];
      read.attributes.emplace_back(pair.key, pair.value);
    }
  }
}

bool LoaderEnd::pump(int ms) {
  std::vector<pollfd> descriptors;
  for (const auto& endpoint : endpoints_) descriptors.push_back({endpoint.socket->fd(), POLLIN, 0});
  if (descriptors.empty() || ::poll(descriptors.data(), descriptors.size(), ms) <= 0) return false;
  bool is_alive = false;
  std::vector<uint32_t> scratch;
  for (uint32_t i = 0; i < descriptors.size(); ++i) {
    if (descriptors[i].revents == 0) continue;
    reading_ = i;
    const auto status = endpoints_[i].socket->read(*this);
    EXPECT_NE(status, channel::ReadStatus::kFault) << endpoints_[i].socket->fault();
    is_alive |= status != channel::ReadStatus::kClosed;
    if (channel::append_releases(endpoints_[i], scratch)) flush(i);
  }
  return is_alive;
}

std::optional<Answer> LoaderEnd::poll(const std::function<bool(const Answer&)>& fits, int ms) {
  const int64_t end = now_ms() + ms;
  for (bool may_come = true;;) {
    for (auto at = answers_.begin(); at != answers_.end(); ++at) {
      if (!fits(*at)) continue;
      Answer found = std::move(*at);
      answers_.erase(at);
      return found;
    }
    const int64_t left = end - now_ms();
    if (!may_come || left <= 0) return std::nullopt;
    may_come = pump(static_cast<int>(left));
  }
}

Answer LoaderEnd::wait(const std::function<bool(const Answer&)>& fits, const char* what,
                       int limit_ms) {
  auto found = poll(fits, limit_ms);
  if (found) return std::move(*found);
  ADD_FAILURE() << "did not come: " << what;
  return {};
}

Answer LoaderEnd::wait_for(uint64_t handle, Operation operation) {
  return wait(
      [&](const Answer& answer) {
        return answer.handle == handle && answer.is_completion(operation);
      },
      "a completion");
}

Answer LoaderEnd::wait_failure(uint64_t handle) {
  return wait(
      [&](const Answer& answer) {
        return answer.handle == handle && answer.type == RecordType::kFailure;
      },
      "a failure");
}

Answer LoaderEnd::wait_result(uint64_t handle) {
  return wait(
      [&](const Answer& answer) {
        return answer.handle == handle && answer.type == RecordType::kResult;
      },
      "a result");
}

}  // namespace loader::host::test
