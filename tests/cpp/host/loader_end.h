// A tiny loader: the other end of a host's channel, over a real socket pair and real arenas. One
// HostRuntime serves on a thread of the test; the test sends records and waits for answers.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "channel/bodies.h"
#include "channel/endpoint.h"
#include "host/runtime.h"

namespace loader::host::test {

using Pairs = std::vector<std::pair<std::string, std::string>>;

struct Item {
  std::string key;
  std::string data;
  uint32_t type = 0;
  uint32_t status = 0;
  Pairs attributes{};
};

// A record from the host, copied.
struct Answer {
  channel::RecordType type{};
  uint64_t handle = 0;
  uint32_t shard = 0;
  // COMPLETION, HUNG and FAILURE
  channel::Operation operation{};
  int32_t status = 0;
  uint16_t error_code = 0;
  std::string text;     // message, log line, READY's describe, METER's unit, TRACE's key and value
  std::string version;  // READY
  // RESULT
  uint64_t seq = 0;
  std::vector<Item> items;
  uint64_t charge = 0;
  uint32_t flags = 0;  // READY
  uint64_t nonce = 0;  // PONG

  bool is_completion(channel::Operation wanted) const {
    return type == channel::RecordType::kCompletion && operation == wanted;
  }
};

struct Setup {
  uint32_t threads = 1;
  uint32_t shards = 1;
  std::string directory{};
  std::string entry{};
  std::string json = "{}";
  Pairs parameters = {{"rate", "16000"}};  // of every session and call; values as JSON
  int64_t call_timeout_ns = channel::kNoDeadline;
  int socket_bytes = 0;  // that the host's end holds; 0: as many as the kernel allows
};

class LoaderEnd : private channel::RecordSink {
 public:
  // Starts the runtime; INIT is sent by start().
  LoaderEnd(Engine& engine, Setup setup);
  ~LoaderEnd() override;

  // INIT, and waits for its completion.
  Answer start();
  // INIT only.
  void begin();
  // Of what is opened from here on.
  void set_parameters(Pairs parameters) { setup_.parameters = std::move(parameters); }
  uint64_t create(uint64_t handle, uint32_t records = 256, uint64_t bytes = 64 * 1024,
                  uint32_t shard = 0, int64_t deadline_ns = channel::kNoDeadline);
  void write(uint64_t handle, const std::vector<Item>& items, uint32_t shard = 0);
  void end(uint64_t handle, uint32_t shard = 0);
  void exec(uint64_t handle, const std::vector<Item>& items, uint32_t shard = 0);
  void cancel(uint64_t handle, uint32_t shard = 0);
  void destroy(uint64_t handle, uint32_t shard = 0);
  void grant(uint64_t handle, uint32_t records, uint64_t bytes, uint32_t shard = 0);
  void ping(uint64_t nonce);
  void health();
  // Their completions have the handle given here.
  void load_resource(uint64_t call, uint32_t id, const std::vector<Item>& items);
  void unload_resource(uint64_t call, uint32_t id);
  void update(const std::string& json);
  void raw(const std::string& bytes);
  // The loader's end of the channels is closed, as by its death.
  void vanish();

  // The first answer that fits, those before it kept for later waits. Fails the test after
  // `limit_ms`.
  Answer wait(const std::function<bool(const Answer&)>& fits, const char* what,
              int limit_ms = 60'000);
  Answer wait_for(uint64_t handle, channel::Operation operation);
  Answer wait_result(uint64_t handle);
  Answer wait_failure(uint64_t handle);
  // Whatever has come or comes within `ms` that fits.
  std::optional<Answer> poll(const std::function<bool(const Answer&)>& fits, int ms);

  // FINI; run()'s exit code. Fails the test when run() does not return in time.
  int stop();
  int join(int limit_ms = 60'000);

 private:
  bool on_record(channel::RecordView& record) override;
  void read_result(channel::RecordView& record, Answer& answer);
  void append_frame(std::vector<uint8_t>& body, const std::vector<Item>& items,
                    std::vector<channel::OutPayload>& outside, uint32_t shard);
  void send(channel::RecordType type, uint64_t handle, const std::vector<uint8_t>& body,
            std::vector<channel::OutPayload> outside, uint32_t shard);
  template <typename Body>
  void send_body(channel::RecordType type, uint64_t handle, const Body& body, uint32_t shard);
  void flush(uint32_t shard);
  bool pump(int ms);
  std::vector<uint8_t> open_body(uint32_t records, uint64_t bytes, int64_t deadline_ns);

  Setup setup_;
  std::vector<channel::Endpoint> endpoints_;
  std::unique_ptr<HostRuntime> runtime_;
  std::thread thread_;
  std::shared_ptr<std::pair<std::mutex, std::condition_variable>> done_;
  std::shared_ptr<std::optional<int>> exit_code_;
  std::vector<Answer> answers_;
  uint32_t reading_ = 0;
  uint64_t seq_ = 0;
};

}  // namespace loader::host::test
