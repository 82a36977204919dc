// What the connections of one server share: lists of the round, pools, buffers, counters.
#pragma once

#include <nghttp2/nghttp2.h>

#include <memory>
#include <random>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "grpc/connection.h"
#include "grpc/gzip.h"
#include "grpc/listener.h"
#include "grpc/response_head.h"
#include "grpc/server.h"

namespace loader::grpc {

class ServerImpl final : public RoundHook {
 public:
  ServerImpl(Server& facade, EventLoop& loop, std::shared_ptr<const Router> router, Options options,
             Hooks hooks);
  ~ServerImpl() override;

  // ---- for the facade
  uint16_t listen(const std::string& address, ListenOptions options);
  void set_tls(const std::shared_ptr<const TlsContext>& tls);
  void stop_accepting() { listeners_.clear(); }
  void drain(int64_t deadline_ns, std::function<void()> on_drained);
  void close_now(CancelReason reason);
  bool is_draining() const { return is_draining_; }

  Server& facade() { return facade_; }
  EventLoop& loop() { return loop_; }
  const Router& router() const { return *router_; }
  const Options& options() const { return options_; }
  const Hooks& hooks() const { return hooks_; }
  ServerStats& stats() { return stats_; }
  void log(const std::string& line);
  Status unknown_path(std::string_view path) const;

  // ---- for listeners and connections
  void accepted(int fd, Peer peer, std::shared_ptr<const TlsContext> tls);
  nghttp2_session* new_session(Connection* connection);
  void connection_closed(Connection* connection);
  void connection_dead(Connection* connection);
  bool may_linger() const { return lingering_ < options_.max_lingering; }
  void lingering_started() { lingering_++; }
  void lingering_ended() { lingering_--; }
  int64_t jitter(int64_t range_ns);

  // ---- the round
  void on_round_end() override;
  void add_dirty(Connection* connection);
  void read_again(Connection* connection);
  void bury(Stream* stream);
  void wake(Stream* stream);

  // ---- pools and buffers
  uint64_t next_call_id() { return ++last_call_id_; }
  Stream* take_stream();
  void return_stream(Stream* stream);
  std::span<uint8_t> read_buffer() { return read_buffer_; }
  void lend_storage(std::string& to);
  void take_storage(std::string& from);
  HeadScratch& scratch() { return scratch_; }
  Gzip& gzip() { return gzip_; }
  std::string& inflated() { return inflated_; }
  void trim_inflated();
  std::string& deflated() { return deflated_; }

 private:
  void run_graves();
  void run_wakes();
  void flush_dirty();
  void delete_dead();
  void report_drained();
  void need_round();

  Server& facade_;
  EventLoop& loop_;
  std::shared_ptr<const Router> router_;
  Options options_;
  Hooks hooks_;
  ServerStats stats_;
  nghttp2_session_callbacks* callbacks_ = nullptr;
  nghttp2_option* nghttp2_options_ = nullptr;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::unordered_map<Connection*, std::unique_ptr<Connection>> connections_;
  std::unordered_map<std::string, uint32_t> per_address_;
  std::vector<Connection*> dirty_, flushing_, unread_, dead_;
  std::vector<Stream*> graves_, wakes_;
  std::vector<std::unique_ptr<Stream>> streams_;  // all ever made
  std::vector<Stream*> free_streams_;
  std::vector<std::string> storage_;
  std::vector<uint8_t> read_buffer_;
  HeadScratch scratch_;
  Gzip gzip_;
  std::string inflated_, deflated_;
  std::minstd_rand random_;
  Timer round_timer_;  // forces a round for work that came after our hook had run
  Timer drain_timer_;
  std::function<void()> on_drained_;
  uint64_t last_call_id_ = 0;
  uint32_t lingering_ = 0;
  int64_t log_window_ns_ = 0;
  int log_lines_ = 0;
  bool is_draining_ = false;
  bool has_work_ = false;  // for on_round_end()
};

}  // namespace loader::grpc
