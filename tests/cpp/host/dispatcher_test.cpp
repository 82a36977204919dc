// The dispatcher by itself: what it does where no further thread can be had.
#include "host/dispatcher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <semaphore>

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

}  // namespace
}  // namespace loader::host::test
