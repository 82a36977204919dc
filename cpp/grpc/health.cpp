#include "grpc/health.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "grpc/proto_codec.h"
#include "grpc/server.h"

namespace loader::grpc {
namespace {

constexpr size_t kListLimit = 100;

class WatchHandler;

// A Watch call as the table sees it. `handler` is touched on the call's loop only and null once
// the handler is gone.
struct Watcher {
  EventLoop* loop;
  std::string service;
  WatchHandler* handler;
  std::atomic<bool> is_told{false};
};

std::optional<std::string> service_of(std::string_view request) {
  ProtoReader reader(request);
  std::string service;
  while (reader.next()) {
    if (reader.field() == 1) {
      service = reader.text();
    } else {
      reader.skip();
    }
  }
  if (!reader.is_good()) return std::nullopt;
  return service;
}

std::string encode(Serving status) {
  std::string out;
  if (status != Serving::kUnknown) put_number(out, 1, static_cast<uint64_t>(status));
  return out;
}

const Status kMalformed{Code::kInternal, "the request is not a valid protobuf message"};

}  // namespace

class HealthTable {
 public:
  HealthTable() { statuses_[""] = Serving::kServing; }

  void set(const std::string& service, Serving status) {
    std::lock_guard lock(mutex_);
    if (is_shut_down_) return;
    if (status == Serving::kServiceUnknown) {
      statuses_.erase(service);
    } else {
      statuses_[service] = status;
    }
    tell(&service);
  }

  void shut_down() {
    std::lock_guard lock(mutex_);
    is_shut_down_ = true;
    for (auto& [name, status] : statuses_) status = Serving::kNotServing;
    tell(nullptr);
  }

  std::optional<Serving> find(const std::string& service) const {
    std::lock_guard lock(mutex_);
    auto it = statuses_.find(service);
    if (it == statuses_.end()) return std::nullopt;
    return it->second;
  }

  std::map<std::string, Serving> all() const {
    std::lock_guard lock(mutex_);
    return statuses_;
  }

  void add(std::shared_ptr<Watcher> watcher) {
    std::lock_guard lock(mutex_);
    watchers_.push_back(std::move(watcher));
  }

  void remove(const Watcher* watcher) {
    std::lock_guard lock(mutex_);
    std::erase_if(watchers_, [&](const auto& w) { return w.get() == watcher; });
  }

 private:
  void tell(const std::string* service);

  mutable std::mutex mutex_;
  std::map<std::string, Serving> statuses_;
  std::vector<std::shared_ptr<Watcher>> watchers_;
  bool is_shut_down_ = false;
};

namespace {

class WatchHandler final : public CallHandler {
 public:
  WatchHandler(Call& call, std::shared_ptr<HealthTable> table)
      : call_(call), table_(std::move(table)) {}
  ~WatchHandler() override {
    if (watcher_ == nullptr) return;
    watcher_->handler = nullptr;
    table_->remove(watcher_.get());
  }

  void on_message(Message& message) override {
    auto service = service_of(message.bytes());
    if (!service) return call_.finish(kMalformed);
    watcher_ = std::make_shared<Watcher>();
    watcher_->loop = &call_.server().loop();
    watcher_->service = *service;
    watcher_->handler = this;
    table_->add(watcher_);
    refresh();
  }
  void on_cancel(CancelReason) override { call_.finish(); }
  void on_writable() override { refresh(); }

  // Sends the newest status unless the client has it; a slow reader gets it when it has read.
  void refresh() {
    watcher_->is_told.store(false);
    if (call_.is_cancelled()) return;
    if (call_.queued_bytes() >= call_.server().options().send_window_bytes) return;
    Serving now = table_->find(watcher_->service).value_or(Serving::kServiceUnknown);
    if (now == last_) return;
    last_ = now;
    call_.send_message(encode(now));
  }

 private:
  Call& call_;
  std::shared_ptr<HealthTable> table_;
  std::shared_ptr<Watcher> watcher_;
  std::optional<Serving> last_;
};

void check(HealthTable& table, Call& call, std::string_view request) {
  auto service = service_of(request);
  if (!service) return call.finish(kMalformed);
  auto status = table.find(*service);
  if (!status) return call.finish({Code::kNotFound, "unknown service"});
  call.send_message(encode(*status));
  call.finish();
}

void list(HealthTable& table, Call& call) {
  auto all = table.all();
  if (all.size() > kListLimit)
    return call.finish({Code::kResourceExhausted, "more than 100 services"});
  std::string out;
  for (auto& [name, status] : all) {
    std::string entry;
    put_text(entry, 1, name);
    put_text(entry, 2, encode(status));
    put_text(out, 1, entry);
  }
  call.send_message(out);
  call.finish();
}

}  // namespace

void HealthTable::tell(const std::string* service) {
  for (auto& watcher : watchers_) {
    if (service != nullptr && watcher->service != *service) continue;
    if (watcher->is_told.exchange(true)) continue;
    watcher->loop->post([watcher] {
      if (watcher->handler != nullptr) watcher->handler->refresh();
    });
  }
}

Health::Health() : table_(std::make_shared<HealthTable>()) {}
Health::~Health() = default;

void Health::set(const std::string& service, Serving status) {
  table_->set(service, status);
}

void Health::shutdown() {
  table_->shut_down();
}

void Health::add_to(Router& router) {
  auto table = table_;
  router.add_unary("/grpc.health.v1.Health/Check",
                   [table](Call& call, Message& message) { check(*table, call, message.bytes()); });
  router.add_unary("/grpc.health.v1.Health/List",
                   [table](Call& call, Message&) { list(*table, call); });
  Method watch;
  watch.cardinality = Cardinality::kServerStream;
  watch.is_background = true;
  watch.factory = [table](Call& call) { return make_handler<WatchHandler>(call, table); };
  router.add("/grpc.health.v1.Health/Watch", watch);
}

}  // namespace loader::grpc
