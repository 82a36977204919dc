#include "host/dispatcher.h"

#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace loader::host {

namespace {

// A leader runs jobs for at most about this long before it flushes and looks at the sockets again.
constexpr int64_t kBatchNs = 200'000;
// While calls are short the timer only guards against the first long one, so it is set later than
// the kernel's own tick. Setting a nearer one means programming the processor's timer, which costs
// more than a short call: up to 18 us in a virtual machine, for each message that comes alone.
constexpr int64_t kRelaxedNs = 5'000'000;
constexpr uint32_t kShortRow = 128;  // so many short calls in a row make the timer relaxed

int64_t clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int checked(int fd, const char* what) {
  if (fd < 0) throw std::system_error(errno, std::generic_category(), what);
  return fd;
}

void drain(int fd) {
  uint64_t ignored = 0;
  while (::read(fd, &ignored, sizeof ignored) > 0) {
  }
}

}  // namespace

struct Dispatcher::Worker {
  const Dispatcher* owner = nullptr;
  channel::UniqueFd wake{
      checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd of a worker thread")};
  std::thread thread;
  std::vector<pollfd> descriptors;
  std::atomic<int64_t> job_started_ns{0};  // 0: no job runs
  bool is_main = false;
  bool is_idle = false;
  bool is_polling = false;
  bool counts = false;  // its job is one of running_

  void kick() const {
    const uint64_t one = 1;
    // Full means that it is readable already.
    static_cast<void>(::write(wake.get(), &one, sizeof one));
  }
};

namespace {
thread_local void* current_worker = nullptr;
}

Dispatcher::Dispatcher(DispatcherClient& client, int64_t handover_us, size_t max_workers)
    : client_(client),
      handover_ns_(handover_us * 1000),
      max_workers_(max_workers),
      timer_(checked(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
                     "timer of the dispatcher")) {
  workers_.push_back(std::make_unique<Worker>());
  workers_.front()->owner = this;
  workers_.front()->is_main = true;
}

Dispatcher::~Dispatcher() {
  stop_and_join();
}

void Dispatcher::stop_and_join() {
  stop();
  for (auto& worker : workers_)
    if (worker->thread.joinable()) worker->thread.join();
}

void Dispatcher::set_threads(uint32_t threads, bool on_main) {
  std::lock_guard lock(mutex_);
  threads_ = std::max<uint32_t>(threads, 1);
  is_main_only_ = on_main && threads_ == 1;
}

Dispatcher::Worker* Dispatcher::current() const {
  auto* worker = static_cast<Worker*>(current_worker);
  return worker != nullptr && worker->owner == this ? worker : nullptr;
}

// The order argument: the caller has queued its bytes under the lock of the output before it asks.
// A successor writes leader_ and then takes that lock to flush: either it finds the bytes, or the
// caller's later look sees the new leader, because it locked after the successor did.
bool Dispatcher::is_leader() const {
  const Worker* me = current();
  return me != nullptr && leader_.load() == me;
}

void Dispatcher::run() {
  work(*workers_.front());
}

void Dispatcher::stop() {
  std::lock_guard lock(mutex_);
  is_stopping_ = true;
  for (auto& worker : workers_) worker->kick();
}

void Dispatcher::work(Worker& me) {
  void* const outer = std::exchange(current_worker, &me);
  client_.thread_begin();
  {
    std::unique_lock lock(mutex_);
    // A new worker rests first, as the watcher it was made for: were it to take a call at once, and
    // the leader too, nobody would be left to take over.
    if (!me.is_main && !is_stopping_ && leader_.load() != nullptr) follow(me, lock);
    while (!is_stopping_) step(me, lock);
    if (leader_.load(std::memory_order_relaxed) == &me) leader_.store(nullptr);
  }
  client_.thread_end();
  current_worker = outer;
}

void Dispatcher::step(Worker& me, std::unique_lock<std::mutex>& lock) {
  // Before any call, which may block: somebody has to lead, and somebody to watch the leader.
  if (leader_.load(std::memory_order_relaxed) == nullptr) lead(me, lock);
  if (can_take(me)) run_batch(me, lock);
  if (is_stopping_) return;
  Worker* const leader = leader_.load(std::memory_order_relaxed);
  if (leader == &me) return poll_once(me, lock);
  if (leader == nullptr) return lead(me, lock);
  if (can_take(me)) return;
  // Where every call runs on the main thread, it should be the one that reads, too:
  // otherwise each frame costs a wake-up.
  if (is_main_only_ && me.is_main && leader->is_polling && !is_reading_) {
    leader_.store(&me);
    leader->kick();
    return;
  }
  follow(me, lock);
}

void Dispatcher::lead(Worker& me, std::unique_lock<std::mutex>& lock) {
  leader_.store(&me);
  ensure_watcher();
  lock.unlock();
  client_.flush();
  lock.lock();
}

void Dispatcher::drain_wake(const pollfd& wake) {
  if ((wake.revents & POLLNVAL) != 0) client_.on_descriptors_lost();
  drain(wake.fd);
}

void Dispatcher::poll_once(Worker& me, std::unique_lock<std::mutex>& lock) {
  const bool may_wait = !can_take(me);
  me.is_polling = may_wait;
  lock.unlock();
  me.descriptors.clear();
  client_.collect(me.descriptors);
  me.descriptors.push_back({me.wake.get(), POLLIN, 0});
  const int ready = ::poll(me.descriptors.data(), me.descriptors.size(), may_wait ? -1 : 0);
  if (ready > 0 && me.descriptors.back().revents != 0) drain_wake(me.descriptors.back());
  me.descriptors.pop_back();
  lock.lock();
  me.is_polling = false;
  if (ready <= 0 || is_stopping_ || leader_.load(std::memory_order_relaxed) != &me) return;
  is_reading_ = true;
  lock.unlock();
  client_.on_ready(me.descriptors);
  lock.lock();
  is_reading_ = false;
  if (can_take(me)) return;
  lock.unlock();
  client_.flush();
  lock.lock();
}

void Dispatcher::run_batch(Worker& me, std::unique_lock<std::mutex>& lock) {
  const int64_t begin = clock_ns();
  bool in_batch = false;
  while (auto entry = take(me)) {
    const int64_t now = clock_ns();
    me.job_started_ns.store(now, std::memory_order_relaxed);
    if (leader_.load(std::memory_order_relaxed) == &me) guard_job(now);
    run_entry(me, std::move(*entry), in_batch, lock);
    const int64_t end = clock_ns();
    const bool is_short = end - now <= handover_ns_.load(std::memory_order_relaxed);
    short_row_ = is_short ? std::min(short_row_ + 1, kShortRow) : 0;
    if (end - begin > kBatchNs) break;
  }
  const bool still_leads = leader_.load(std::memory_order_relaxed) == &me;
  if (still_leads && short_row_ < kShortRow) disarm();
  lock.unlock();
  if (in_batch) client_.batch_end();
  if (still_leads) client_.flush();
  lock.lock();
}

void Dispatcher::run_entry(Worker& me, Entry entry, bool& in_batch,
                           std::unique_lock<std::mutex>& lock) {
  if (entry.kind == JobKind::kCall) {
    ++running_;
    me.counts = true;
  }
  lock.unlock();
  const bool wants_batch = entry.kind != JobKind::kControl;
  if (wants_batch && !in_batch) client_.batch_begin();
  if (!wants_batch && in_batch) client_.batch_end();
  in_batch = wants_batch;
  entry.job->run();
  entry.job.reset();
  lock.lock();
  if (me.counts) {
    me.counts = false;
    --running_;
  }
  me.job_started_ns.store(0, std::memory_order_relaxed);
}

void Dispatcher::follow(Worker& me, std::unique_lock<std::mutex>& lock) {
  idle_.push_back(&me);
  is_full_ = false;
  me.is_idle = true;
  if (watcher_ == nullptr) watcher_ = &me;
  // One that led without a successor has one now, and may take a call.
  Worker* const leader = leader_.load(std::memory_order_relaxed);
  if (leader != nullptr && leader != &me && leader->is_polling && can_call(*leader)) leader->kick();
  while (me.is_idle && !is_stopping_) {
    pollfd waits[2] = {{me.wake.get(), POLLIN, 0}, {timer_.get(), POLLIN, 0}};
    const nfds_t count = watcher_ == &me ? 2 : 1;
    lock.unlock();
    ::poll(waits, count, -1);
    if (waits[0].revents != 0) drain_wake(waits[0]);
    lock.lock();
    if (!me.is_idle || is_stopping_) break;
    if (count == 2 && waits[1].revents != 0 && watcher_ == &me && try_take_over(me)) {
      lock.unlock();
      client_.flush();
      lock.lock();
    }
  }
  if (me.is_idle) claim(me);
}

// The timer fired. True: this worker leads from here on.
bool Dispatcher::try_take_over(Worker& me) {
  drain(timer_.get());
  timer_ns_ = 0;
  const Worker* leader = leader_.load(std::memory_order_relaxed);
  if (leader != nullptr) {
    const int64_t started = leader->job_started_ns.load(std::memory_order_relaxed);
    if (started == 0) return false;
    const int64_t now = clock_ns();
    const int64_t left = started + handover_ns_.load(std::memory_order_relaxed) - now;
    if (left > 0) {
      arm(now, short_row_ < kShortRow ? left : patience_ns());
      return false;
    }
  }
  short_row_ = 0;
  claim(me);
  leader_.store(&me);
  ensure_watcher();
  return true;
}

// Takes a worker out of the idle ones; it wakes up if it sleeps.
void Dispatcher::claim(Worker& worker) {
  worker.is_idle = false;
  std::erase(idle_, &worker);
  if (watcher_ == &worker) watcher_ = nullptr;
  worker.kick();
}

void Dispatcher::ensure_watcher() {
  if (watcher_ != nullptr) return;
  if (idle_.empty()) {
    spawn();  // finds nothing to do and becomes the watcher
    return;
  }
  watcher_ = idle_.back();
  watcher_->kick();
}

Dispatcher::Worker* Dispatcher::spawn() {
  if (is_stopping_) return nullptr;
  is_full_ = workers_.size() >= max_workers_;
  if (is_full_) return nullptr;
  const size_t before = workers_.size();
  try {
    Worker* made = workers_.emplace_back(std::make_unique<Worker>()).get();
    made->owner = this;
    made->thread = std::thread([this, made] { work(*made); });
    return made;
  } catch (const std::system_error&) {
    workers_.resize(
        before);  // no more threads or descriptors: the engine runs with those there are
    is_full_ = before > 1;
    return nullptr;
  }
}

void Dispatcher::release_lead(Worker& me) {
  if (leader_.load(std::memory_order_relaxed) != &me) return;
  leader_.store(nullptr);
  if (watcher_ != nullptr) {
    claim(*watcher_);
  } else if (!idle_.empty()) {
    claim(*idle_.back());
  } else if (spawn() == nullptr) {
    leader_.store(&me);
  }
}

int64_t Dispatcher::patience_ns() const {
  const int64_t handover = handover_ns_.load(std::memory_order_relaxed);
  return short_row_ < kShortRow ? handover : std::max(handover, kRelaxedNs);
}

// While calls are short the timer stays as it is and fires every few milliseconds for nothing: that
// is cheaper than two system calls for each message that comes alone.
void Dispatcher::guard_job(int64_t now_ns) {
  const int64_t patience = patience_ns();
  const int64_t left = timer_ns_ - now_ns;
  const bool may_fire_early = short_row_ >= kShortRow && timer_ns_ != 0;
  if (left <= patience && (may_fire_early || left >= patience / 2)) return;
  arm(now_ns, patience);
}

void Dispatcher::disarm() {
  if (timer_ns_ != 0) arm(0, 0);
}

void Dispatcher::arm(int64_t now_ns, int64_t delay_ns) {
  timer_ns_ = now_ns + delay_ns;
  itimerspec spec{};
  spec.it_value.tv_sec = delay_ns / 1'000'000'000;
  spec.it_value.tv_nsec = delay_ns % 1'000'000'000;
  ::timerfd_settime(timer_.get(), 0, &spec, nullptr);
}

bool Dispatcher::can_take(const Worker& me) const {
  if (me.is_main && !main_jobs_.empty()) return true;
  return !control_jobs_.empty() || can_call(me);
}

// A call may block. Whoever leads without a successor only reads, so that credit and pings arrive.
bool Dispatcher::can_call(const Worker& me) const {
  if (calls_.empty() || running_ >= threads_) return false;
  if (leader_.load(std::memory_order_relaxed) != &me) return true;
  return !idle_.empty() || (!is_full_ && workers_.size() < max_workers_);
}

std::optional<Dispatcher::Entry> Dispatcher::take(const Worker& me) {
  std::deque<Entry>* from = nullptr;
  if (!control_jobs_.empty()) {
    from = &control_jobs_;
  } else if (me.is_main && !main_jobs_.empty()) {
    from = &main_jobs_;
  } else if (can_call(me)) {
    from = &calls_;
  } else {
    return std::nullopt;
  }
  Entry entry = std::move(from->front());
  from->pop_front();
  return entry;
}

void Dispatcher::submit(std::shared_ptr<Job> job, JobKind kind) {
  std::lock_guard lock(mutex_);
  // On the main thread, order among all jobs is the order of arrival.
  if (kind == JobKind::kCall && is_main_only_) kind = JobKind::kMain;
  auto& queue = kind == JobKind::kMain   ? main_jobs_
                : kind == JobKind::kCall ? calls_
                                         : control_jobs_;
  queue.push_back({std::move(job), kind});
  wake_for(kind);
}

// Somebody who runs looks at the queues before he rests; only sleepers must be woken.
void Dispatcher::wake_for(JobKind kind) {
  Worker& main = *workers_.front();
  if (kind == JobKind::kMain) {
    if (main.is_idle) {
      claim(main);
      ensure_watcher();
    } else if (main.is_polling) {
      main.kick();
    }
    return;
  }
  Worker* leader = leader_.load(std::memory_order_relaxed);
  if (leader != nullptr && leader->is_polling) leader->kick();
}

void Dispatcher::poke() {
  std::lock_guard lock(mutex_);
  Worker* leader = leader_.load(std::memory_order_relaxed);
  if (leader != nullptr && leader->is_polling) leader->kick();
}

void Dispatcher::give_lead() {
  Worker* me = current();
  if (me == nullptr) return;
  std::lock_guard lock(mutex_);
  release_lead(*me);
}

void Dispatcher::begin_wait() {
  Worker* me = current();
  if (me == nullptr) return;
  std::lock_guard lock(mutex_);
  release_lead(*me);
  if (!me->counts) return;
  --running_;
  if (!calls_.empty()) wake_for(JobKind::kCall);
}

void Dispatcher::end_wait() {
  Worker* me = current();
  if (me == nullptr || !me->counts) return;
  std::lock_guard lock(mutex_);
  ++running_;
}

}  // namespace loader::host
