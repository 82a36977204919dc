// The dispatcher by itself: what it does where no further thread can be had.
#include "host/dispatcher.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <semaphore>
#include <vector>

namespace loader::host::test {
namespace {

using std::chrono::seconds;

class Nothing final : public DispatcherClient {
 public:
  void collect(std::vector<pollfd>&) override {}
  void on_ready(const std::vector<pollfd>&) override {}
  void flush() override {}
  void on_descriptors_lost() override {}
  void thread_begin() override {}
  void thread_end() override {}
  void batch_begin() override {}
  void batch_end() override {}
};

class Lambda final : public Job {
 public:
  explicit Lambda(std::function<void()> run) : run_(std::move(run)) {}
  void run() noexcept override { run_(); }

 private:
  std::function<void()> run_;
};

// Calls that block for credit may use up the threads, but never the one that reads.
TEST(Dispatcher, TheLastThreadOnlyReads) {
  constexpr int kWorkers = 4;
  constexpr int kCalls = 10;
  Nothing client;
  Dispatcher dispatcher(client, 100, kWorkers);
  dispatcher.set_threads(kCalls, false);
  std::counting_semaphore<kCalls> blocked(0);
  std::counting_semaphore<kCalls> credit(0);
  std::counting_semaphore<kCalls> done(0);
  for (int i = 0; i < kCalls; ++i) {
    dispatcher.submit(std::make_shared<Lambda>([&] {
                        dispatcher.begin_wait();
                        blocked.release();
                        static_cast<void>(credit.try_acquire_for(seconds(10)));
                        dispatcher.end_wait();
                        done.release();
                      }),
                      JobKind::kCall);
  }
  std::thread main([&] { dispatcher.run(); });
  for (int i = 0; i < kWorkers - 1; ++i) EXPECT_TRUE(blocked.try_acquire_for(seconds(10)));
  std::promise<void> answered;
  dispatcher.submit(std::make_shared<Lambda>([&] { answered.set_value(); }), JobKind::kControl);
  EXPECT_EQ(answered.get_future().wait_for(seconds(5)), std::future_status::ready);
  EXPECT_FALSE(blocked.try_acquire());
  credit.release(kCalls);
  for (int i = 0; i < kCalls; ++i) EXPECT_TRUE(done.try_acquire_for(seconds(10)));
  dispatcher.stop();
  main.join();
}

// Every thread needs a descriptor; an engine may have taken them all.
class NoDescriptors {
 public:
  // Leaves so many.
  explicit NoDescriptors(int left) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    for (int i = 0; i < left; ++i) copies_.push_back(::dup(STDERR_FILENO));
    rlimit tight = before_;
    tight.rlim_cur = static_cast<rlim_t>(copies_.back()) + 1;
    ::setrlimit(RLIMIT_NOFILE, &tight);
    for (const int copy : copies_) ::close(copy);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
  std::vector<int> copies_;
};

TEST(Dispatcher, WithoutDescriptorsItGoesOnWithTheThreadsItHas) {
  constexpr int kWorkers = 3;
  constexpr int kCalls = 10;
  Nothing client;
  Dispatcher dispatcher(client, 100);
  dispatcher.set_threads(kCalls, false);
  std::counting_semaphore<kCalls> credit(0);
  std::counting_semaphore<kCalls> blocked(0);
  std::counting_semaphore<kCalls> done(0);
  const NoDescriptors tight(kWorkers);
  std::thread main([&] { dispatcher.run(); });
  for (int i = 0; i < kCalls; ++i) {
    dispatcher.submit(std::make_shared<Lambda>([&] {
                        dispatcher.begin_wait();
                        blocked.release();
                        static_cast<void>(credit.try_acquire_for(seconds(20)));
                        dispatcher.end_wait();
                        done.release();
                      }),
                      JobKind::kCall);
  }
  EXPECT_TRUE(blocked.try_acquire_for(seconds(10)));
  std::promise<void> answered;
  dispatcher.submit(std::make_shared<Lambda>([&] { answered.set_value(); }), JobKind::kControl);
  EXPECT_EQ(answered.get_future().wait_for(seconds(10)), std::future_status::ready);
  credit.release(kCalls);
  for (int i = 0; i < kCalls; ++i) EXPECT_TRUE(done.try_acquire_for(seconds(20)));
  dispatcher.stop();
  main.join();
}

// After many short calls the timer is left as it is; whenever it fires, a long call is found.
TEST(Dispatcher, ALongCallAfterShortOnesLosesTheLead) {
  constexpr int kRounds = 30;
  constexpr int kShortCalls = 200;
  Nothing client;
  Dispatcher dispatcher(client, 100);
  dispatcher.set_threads(2, false);
  std::counting_semaphore<kShortCalls> done(0);
  std::binary_semaphore started(0);
  std::binary_semaphore answered(0);
  std::binary_semaphore may_end(0);
  std::binary_semaphore ended(0);
  const auto submit = [&](JobKind kind, std::function<void()> run) {
    dispatcher.submit(std::make_shared<Lambda>(std::move(run)), kind);
  };
  std::thread main([&] { dispatcher.run(); });
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    for (int i = 0; i < kShortCalls; ++i) submit(JobKind::kCall, [&] { done.release(); });
    for (int i = 0; i < kShortCalls; ++i) EXPECT_TRUE(done.try_acquire_for(seconds(10)));
    submit(JobKind::kCall, [&] {
      started.release();
      static_cast<void>(may_end.try_acquire_for(seconds(20)));
      ended.release();
    });
    EXPECT_TRUE(started.try_acquire_for(seconds(10)));
    submit(JobKind::kControl, [&] { answered.release(); });
    EXPECT_TRUE(answered.try_acquire_for(seconds(10)));
    may_end.release();
    EXPECT_TRUE(ended.try_acquire_for(seconds(10)));
  }
  dispatcher.stop();
  main.join();
}

}  // namespace
}  // namespace loader::host::test
