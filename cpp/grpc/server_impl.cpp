#include "grpc/server_impl.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace loader::grpc {
namespace {

constexpr size_t kReadBuffer = 64 << 10;
constexpr size_t kPooledStorage = 64 << 10;  // larger buffers are not kept
constexpr size_t kPooledCount = 256;
constexpr int kLogLinesPerSecond = 10;
constexpr int64_t kSecond = 1'000'000'000;

nghttp2_option* make_options() {
  nghttp2_option* o = nullptr;
  nghttp2_option_new(&o);
  nghttp2_option_set_no_auto_window_update(o, 1);
  nghttp2_option_set_no_closed_streams(o, 1);
  nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(o, 1);
  nghttp2_option_set_max_settings(o, 32);
  nghttp2_option_set_max_outbound_ack(o, 1000);
  nghttp2_option_set_stream_reset_rate_limit(o, 1000, 100);
  for (int type = NGHTTP2_CONTINUATION + 1; type < 256; type++)
    nghttp2_option_set_user_recv_extension_type(o, static_cast<uint8_t>(type));
  return o;
}

// The address without its port: what max_connections_per_address counts.
std::string counted_part(const Peer& peer) {
  return peer.is_unix ? std::string() : peer.address.substr(0, peer.address.rfind(':'));
}

}  // namespace

ServerImpl::ServerImpl(Server& facade, EventLoop& loop, std::shared_ptr<const Router> router,
                       Options options, Hooks hooks)
    : facade_(facade),
      loop_(loop),
      router_(std::move(router)),
      options_(options),
      hooks_(std::move(hooks)),
      nghttp2_options_(make_options()),
      read_buffer_(kReadBuffer),
      random_(static_cast<unsigned>(EventLoop::clock_ns())),
      round_timer_([] {}) {
  nghttp2_session_callbacks_new(&callbacks_);
  Connection::install(callbacks_);
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes with write(2)
  loop_.add_hook(this);
}

ServerImpl::~ServerImpl() {
  loop_.remove_hook(this);
  listeners_.clear();
  close_now(CancelReason::kServerClosing);
  run_graves();
  for (auto& stream : streams_) stream->destroy_handler();
  connections_.clear();
  nghttp2_option_del(nghttp2_options_);
  nghttp2_session_callbacks_del(callbacks_);
}

void ServerImpl::log(const std::string& line) {
  if (!hooks_.log) return;
  int64_t now = loop_.now_ns();
  if (now - log_window_ns_ >= kSecond) {
    log_window_ns_ = now;
    log_lines_ = 0;
  }
  if (log_lines_++ < kLogLinesPerSecond) hooks_.log(line);
}

Status ServerImpl::unknown_path(std::string_view path) const {
  std::string shown = percent_encode(path, 200);
  size_t slash = path.empty() ? std::string_view::npos : path.find('/', 1);
  bool is_path = !path.empty() && path[0] == '/' && slash != std::string_view::npos;
  if (!is_path) return {Code::kUnimplemented, "malformed method path '" + shown + "'"};
  if (!router_->has_service(path.substr(1, slash - 1)))
    return {Code::kUnimplemented, "unknown service in '" + shown + "'"};
  return {Code::kUnimplemented, "unknown method '" + shown + "'"};
}

// ---------------------------------------------------------------- connections

uint16_t ServerImpl::listen(const std::string& address, ListenOptions options) {
  auto opened = Listener::open(*this, address, options);
  uint16_t port = opened.front()->port();
  for (auto& listener : opened) listeners_.push_back(std::move(listener));
  return port;
}

void ServerImpl::set_tls(const std::shared_ptr<const TlsContext>& tls) {
  for (auto& listener : listeners_)
    if (listener->is_encrypted()) listener->set_tls(tls);
}

void ServerImpl::accepted(int fd, Peer peer, std::shared_ptr<const TlsContext> tls) {
  std::string counted = counted_part(peer);
  bool is_full = stats_.open_connections >= options_.max_connections;
  if (!counted.empty() && !is_full)
    is_full = per_address_[counted] >= options_.max_connections_per_address;
  if (is_full) {
    stats_.connections_refused++;
    ::close(fd);
    return;
  }
  if (!counted.empty()) per_address_[counted]++;
  stats_.connections++;
  stats_.open_connections++;
  auto owned = std::make_unique<Connection>(*this, fd, std::move(tls), std::move(peer), counted);
  Connection* connection = owned.get();
  connections_.emplace(connection, std::move(owned));
  connection->start();
}

nghttp2_session* ServerImpl::new_session(Connection* connection) {
  nghttp2_session* session = nullptr;
  nghttp2_session_server_new2(&session, callbacks_, connection, nghttp2_options_);
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options_.max_concurrent_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options_.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options_.max_header_bytes},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1}};
  nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<int32_t>(options_.connection_window_bytes));
  return session;
}

void ServerImpl::connection_closed(Connection* connection) {
  stats_.open_connections--;
  const std::string& counted = connection->counted_address();
  if (auto it = per_address_.find(counted); it != per_address_.end() && --it->second == 0)
    per_address_.erase(it);
  if (connection->is_dead()) connection_dead(connection);
}

void ServerImpl::connection_dead(Connection* connection) {
  if (std::find(dead_.begin(), dead_.end(), connection) == dead_.end()) dead_.push_back(connection);
  need_round();
}

int64_t ServerImpl::jitter(int64_t range_ns) {
  return std::uniform_int_distribution<int64_t>(0, range_ns)(random_);
}

void ServerImpl::drain(int64_t deadline_ns, std::function<void()> on_drained) {
  is_draining_ = true;
  on_drained_ = std::move(on_drained);
  stop_accepting();
  std::vector<Connection*> all;
  for (auto& [connection, owned] : connections_) all.push_back(connection);
  for (Connection* connection : all) connection->start_drain("shutdown");
  drain_timer_.on_fire([this] {
    for (auto& [connection, owned] : connections_)
      if (!connection->is_closed()) connection->end_calls();
  });
  drain_timer_.set(loop_, deadline_ns);
  need_round();
}

void ServerImpl::close_now(CancelReason reason) {
  stop_accepting();
  std::vector<Connection*> all;
  for (auto& [connection, owned] : connections_) all.push_back(connection);
  for (Connection* connection : all) connection->drop(reason);
}

// ---------------------------------------------------------------- the round

void ServerImpl::need_round() {
  has_work_ = true;
  if (!round_timer_.is_set()) round_timer_.set(loop_, 0);
}

void ServerImpl::add_dirty(Connection* connection) {
  dirty_.push_back(connection);
  need_round();
}

void ServerImpl::read_again(Connection* connection) {
  unread_.push_back(connection);
  need_round();
}

void ServerImpl::bury(Stream* stream) {
  if (stream->is_buried) return;
  stream->is_buried = true;
  graves_.push_back(stream);
  need_round();
}

void ServerImpl::wake(Stream* stream) {
  if (stream->is_waking) return;
  stream->is_waking = true;
  wakes_.push_back(stream);
  need_round();
}

void ServerImpl::on_round_end() {
  if (!has_work_) return;
  has_work_ = false;
  round_timer_.cancel();
  std::vector<Connection*> unread;
  unread.swap(unread_);
  for (Connection* connection : unread)
    if (!connection->is_closed()) connection->read_more();
  // Destructors and on_writable() may send: one more pass carries that. The rest waits a round.
  for (int pass = 0; pass < 2; pass++) {
    run_graves();
    flush_dirty();
    run_wakes();
  }
  run_graves();
  delete_dead();
  bool is_idle = dirty_.empty() && graves_.empty() && wakes_.empty() && unread_.empty();
  has_work_ = !is_idle;
  if (is_idle) round_timer_.cancel();
  report_drained();
}

void ServerImpl::run_graves() {
  for (size_t i = 0; i < graves_.size(); i++) {
    Stream* stream = graves_[i];
    stream->is_buried = false;
    stream->destroy_handler();
    stream->connection().release_if_over(stream);
  }
  graves_.clear();
}

void ServerImpl::run_wakes() {
  std::vector<Stream*> woken;
  woken.swap(wakes_);
  for (Stream* stream : woken) {
    stream->is_waking = false;
    stream->connection().survive([stream] { stream->on_woken(); });
    stream->connection().release_if_over(stream);
  }
  woken.clear();
  if (wakes_.empty()) wakes_.swap(woken);
}

void ServerImpl::flush_dirty() {
  flushing_.swap(dirty_);
  for (Connection* connection : flushing_) {
    connection->set_dirty(false);
    connection->flush();
  }
  flushing_.clear();
}

void ServerImpl::delete_dead() {
  if (dead_.empty()) return;
  auto is_dead = [&](Connection* c) { return c->is_dead(); };
  std::erase_if(dirty_, is_dead);
  std::erase_if(unread_, is_dead);
  for (Connection* connection : dead_) connections_.erase(connection);
  dead_.clear();
}

void ServerImpl::report_drained() {
  if (!is_draining_ || stats_.open_connections > 0 || !on_drained_) return;
  drain_timer_.cancel();
  std::exchange(on_drained_, {})();
}

// ---------------------------------------------------------------- pools

Stream* ServerImpl::take_stream() {
  if (free_streams_.empty()) {
    streams_.push_back(std::make_unique<Stream>());
    return streams_.back().get();
  }
  Stream* stream = free_streams_.back();
  free_streams_.pop_back();
  return stream;
}

void ServerImpl::return_stream(Stream* stream) {
  stream->recycle();
  free_streams_.push_back(stream);
}

void ServerImpl::lend_storage(std::string& to) {
  if (to.capacity() >= 64 || storage_.empty()) return;
  to.swap(storage_.back());
  storage_.pop_back();
}

void ServerImpl::take_storage(std::string& from) {
  std::string kept;
  kept.swap(from);
  if (kept.capacity() < 64 || kept.capacity() > kPooledStorage || storage_.size() >= kPooledCount)
    return;
  kept.clear();
  storage_.push_back(std::move(kept));
}

void ServerImpl::trim_inflated() {
  if (inflated_.capacity() > kPooledStorage) std::string().swap(inflated_);
}

}  // namespace loader::grpc
