// The load generator: closed-loop unary calls, ping-pong streams, paced streams, idle and stalled
// ones, sessions of AIGES clients. One thread, grpc++ (the client a user has). Prints "start" and
// "stop" around what is measured, so that the caller reads the server's CPU at both, then one JSON
// line. Knows no server and no protocol: requests come as files of bytes.
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <queue>
#include <stdexcept>

#include "lanes.h"
#include "xsf_lane.h"

namespace {

using bench::Clock;
using bench::StreamLane;

struct Settings {
  std::string address, path, mode = "unary";
  std::string request, opening;
  bool has_opening = false;
  int lanes = 1;
  int channels = 4;
  double seconds = 5;
  double warm_up_s = 1;
  double interval_ms = 32;
};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Where a request has eight `#` in a row it wants the number of its lane.
grpc::ByteBuffer message_of(std::string bytes, int lane) {
  static constexpr std::string_view kPlace = "########";
  if (const size_t at = bytes.find(kPlace); at != std::string::npos) {
    const std::string digits = std::to_string(100'000'000 + lane).substr(1);
    bytes.replace(at, kPlace.size(), digits);
  }
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

Settings parse(int count, char** values) {
  std::map<std::string, std::string> given;
  for (int i = 1; i + 1 < count; i += 2) given[values[i]] = values[i + 1];
  Settings settings;
  settings.address = given.at("--address");
  settings.path = given.at("--path");
  settings.request = read_file(given.at("--request"));
  settings.has_opening = given.contains("--opening");
  if (settings.has_opening) settings.opening = read_file(given["--opening"]);
  if (given.contains("--mode")) settings.mode = given["--mode"];
  if (given.contains("--lanes")) settings.lanes = std::stoi(given["--lanes"]);
  if (given.contains("--channels")) settings.channels = std::stoi(given["--channels"]);
  if (given.contains("--seconds")) settings.seconds = std::stod(given["--seconds"]);
  if (given.contains("--warm-up")) settings.warm_up_s = std::stod(given["--warm-up"]);
  if (given.contains("--interval-ms")) settings.interval_ms = std::stod(given["--interval-ms"]);
  return settings;
}

class Load {
 public:
  explicit Load(Settings settings) : settings_(std::move(settings)) { connect(); }

  void run() {
    if (settings_.mode == "unary") return run_unary();
    if (settings_.mode == "xsf") return run_xsf();
    open_streams();
    if (settings_.mode == "stream") return measure([](Clock::time_point until) { return until; });
    if (settings_.mode == "paced") return run_paced();
    if (settings_.mode == "hold") return hold();
    if (settings_.mode == "stall") return stall();
    throw std::runtime_error("mode " + settings_.mode + " is not known");
  }

 private:
  void connect() {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetMaxSendMessageSize(-1);
    if (settings_.mode == "stall") {  // a client that takes 64 KiB and no more
      arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
      arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
    }
    for (int i = 0; i < std::min(settings_.channels, settings_.lanes); ++i) {
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
      const auto channel = grpc::CreateCustomChannel(settings_.address,
                                                     grpc::InsecureChannelCredentials(), arguments);
      if (!channel->WaitForConnected(wall_now() + std::chrono::seconds(10))) {
        throw std::runtime_error("nobody answers at " + settings_.address);
      }
      stubs_.push_back(std::make_unique<grpc::GenericStub>(channel));
    }
  }
  static std::chrono::system_clock::time_point wall_now() {
    return std::chrono::system_clock::now();
  }
  grpc::GenericStub& stub(int lane) { return *stubs_[static_cast<size_t>(lane) % stubs_.size()]; }

  void run_unary() {
    std::vector<std::unique_ptr<bench::UnaryLane>> lanes;
    for (int i = 0; i < settings_.lanes; ++i) {
      lanes.push_back(std::make_unique<bench::UnaryLane>(stub(i), queue_, settings_.path,
                                                         message_of(settings_.request, i), tally_));
      lanes.back()->start();
    }
    measure([](Clock::time_point until) { return until; });
  }

  void run_xsf() {
    std::vector<std::unique_ptr<bench::XsfLane>> lanes;
    for (int i = 0; i < settings_.lanes; ++i) {
      lanes.push_back(std::make_unique<bench::XsfLane>(
          stub(i), queue_, settings_.path, settings_.opening, settings_.request, tally_));
      lanes.back()->start();
    }
    measure([](Clock::time_point until) { return until; });
  }

  void open_streams() {
    const auto mode = settings_.mode == "stream"  ? StreamLane::Mode::kPingPong
                      : settings_.mode == "stall" ? StreamLane::Mode::kStall
                                                  : StreamLane::Mode::kOnDemand;
    for (int i = 0; i < settings_.lanes; ++i) {
      std::optional<grpc::ByteBuffer> opening;
      if (settings_.has_opening) opening = message_of(settings_.opening, i);
      streams_.push_back(std::make_unique<StreamLane>(stub(i), queue_, settings_.path, opening,
                                                      message_of(settings_.request, i), mode,
                                                      tally_));
      streams_.back()->start();
    }
    const auto give_up = Clock::now() + std::chrono::seconds(30);
    for (const auto& lane : streams_) {
      while (!lane->is_open() && !lane->is_failed() && Clock::now() < give_up) turn(give_up);
      if (!lane->is_open()) tally_.fail("a stream did not open");
    }
  }

  // Handles one event, or returns at `until`.
  void turn(Clock::time_point until) {
    void* tag = nullptr;
    bool is_ok = false;
    const auto deadline = wall_now() + (until - Clock::now());
    const auto status = queue_.AsyncNext(
        &tag, &is_ok, std::chrono::time_point_cast<std::chrono::system_clock::duration>(deadline));
    if (status == grpc::CompletionQueue::GOT_EVENT) static_cast<bench::Event*>(tag)->done(is_ok);
  }

  // `next_due`: called before each wait; the earliest time at which it wants to be called again.
  template <typename NextDue>
  void measure(NextDue next_due) {
    run_for(settings_.warm_up_s, next_due);
    say("start");
    tally_.is_measuring = true;
    const auto started = Clock::now();
    run_for(settings_.seconds, next_due);
    const std::chrono::duration<double> took = Clock::now() - started;
    tally_.is_measuring = false;
    say("stop");
    report(took.count());
  }
  template <typename NextDue>
  void run_for(double seconds, NextDue& next_due) {
    const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(seconds));
    while (Clock::now() < until && tally_.failures == 0) turn(std::min(until, next_due(until)));
  }

  // Each lane has its own phase; a lane whose answer is late sends when it has come, and its
  // latency counts from when it was due.
  void run_paced() {
    using Due = std::pair<Clock::time_point, size_t>;
    const auto interval = std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double, std::milli>(settings_.interval_ms));
    std::priority_queue<Due, std::vector<Due>, std::greater<>> due;
    const auto start = Clock::now();
    for (size_t i = 0; i < streams_.size(); ++i) {
      due.emplace(start + interval * static_cast<int>(i) / static_cast<int>(streams_.size()), i);
    }
    const auto next_due = [&](Clock::time_point) {
      while (due.top().first <= Clock::now()) {
        const auto [when, lane] = due.top();
        if (!streams_[lane]->is_idle()) {  // late: looked at again soon
          due.pop();
          due.emplace(Clock::now() + std::chrono::milliseconds(1), lane);
          continue;
        }
        due.pop();
        streams_[lane]->send(when);
        due.emplace(when + interval, lane);
      }
      return due.top().first;
    };
    measure(next_due);
  }

  void hold() {
    say("ready");
    wait_for_caller();
    report(0);
  }

  // Writes until nothing has moved for a second.
  void stall() {
    uint64_t last = 0;
    auto moved = Clock::now();
    while (Clock::now() - moved < std::chrono::seconds(1) && tally_.failures == 0) {
      turn(Clock::now() + std::chrono::milliseconds(50));
      uint64_t writes = 0;
      for (const auto& lane : streams_) writes += lane->writes();
      if (writes != last) moved = Clock::now();
      last = writes;
    }
    writes_ = last;
    say("ready");
    wait_for_caller();
    report(0);
  }

  // Keeps connections alive until standard input ends.
  void wait_for_caller() {
    pollfd input{STDIN_FILENO, POLLIN | POLLHUP, 0};
    while (poll(&input, 1, 0) == 0) turn(Clock::now() + std::chrono::milliseconds(20));
  }

  void report(double seconds) {
    const size_t count = tally_.latencies_us.size();
    std::printf(
        "{\"messages\": %zu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
        "\"writes\": %llu, \"failures\": %llu, \"first_failure\": \"%s\"}\n",
        count, seconds, static_cast<double>(tally_.percentile(0.5)),
        static_cast<double>(tally_.percentile(0.99)), static_cast<unsigned long long>(writes_),
        static_cast<unsigned long long>(tally_.failures), quotable(tally_.first_failure).c_str());
    std::fflush(stdout);
  }
  static std::string quotable(std::string text) {
    for (char& c : text) {
      if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20) c = '\'';
    }
    return text;
  }
  static void say(const char* word) {
    std::puts(word);
    std::fflush(stdout);
  }

  Settings settings_;
  bench::Tally tally_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  std::vector<std::unique_ptr<StreamLane>> streams_;
  uint64_t writes_ = 0;
};

}  // namespace

int main(int count, char** values) {
  try {
    auto* load = new Load(parse(count, values));
    load->run();
    // Open calls end with the process: what a vanishing client looks like to the server.
    std::_Exit(0);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "bench-load: %s\n", failure.what());
    return 2;
  }
}
