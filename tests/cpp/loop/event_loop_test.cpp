// The event loop's promises: timers in order, posted work from any thread, no event after unwatch.
#include "loop/event_loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <memory>
#include <random>
#include <thread>

namespace loader {
namespace {

// Stops the loop after `limit`, so that a broken test fails instead of hanging.
class Bound {
 public:
  Bound(EventLoop& loop, int64_t limit_ns) : timer_([&loop] { loop.stop(); }) {
    timer_.set(loop, EventLoop::clock_ns() + limit_ns);
  }

 private:
  Timer timer_;
};

struct Reader : EventSource {
  std::function<void()> on_read;
  void on_events(uint32_t) override { on_read(); }
};

TEST(EventLoop, TimersFireInOrderOfTheirDeadlines) {
  EventLoop loop;
  std::mt19937 random(7);
  std::vector<int64_t> fired;
  std::vector<std::unique_ptr<Timer>> timers;
  int64_t base = EventLoop::clock_ns();
  for (int i = 0; i < 500; i++) {
    int64_t deadline = base + int64_t(random() % 3'000'000);
    timers.push_back(std::make_unique<Timer>([&, deadline] {
      fired.push_back(deadline);
      if (fired.size() == 400) loop.stop();
    }));
    timers.back()->set(loop, deadline);
  }
  for (int i = 0; i < 500; i += 5) timers[size_t(i)].reset();  // 100 never fire
  Bound bound(loop, 5'000'000'000);
  loop.run();
  EXPECT_EQ(fired.size(), 400u);
  EXPECT_TRUE(std::is_sorted(fired.begin(), fired.end()));
}

TEST(EventLoop, ATimerMayDestroyItselfAndMoveOthers) {
  EventLoop loop;
  auto other = std::make_unique<Timer>([] { FAIL() << "cancelled timer fired"; });
  auto self = std::make_unique<Timer>();
  self->on_fire([&] {
    other.reset();
    self.reset();
    loop.stop();
  });
  int64_t now = EventLoop::clock_ns();
  self->set(loop, now);
  other->set(loop, now + 1);
  loop.run();
  EXPECT_EQ(self, nullptr);
}

TEST(EventLoop, PostedWorkRunsOnTheLoopInOrderFromEveryThread) {
  EventLoop loop;
  std::vector<std::vector<int>> seen(4);
  int done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 1000; i++)
        loop.post([&, t, i] {
          EXPECT_TRUE(loop.is_loop_thread());
          seen[size_t(t)].push_back(i);
          if (++done == 4000) loop.stop();
        });
    });
  Bound bound(loop, 10'000'000'000);
  loop.run();
  for (auto& thread : threads) thread.join();
  for (auto& order : seen) {
    EXPECT_EQ(order.size(), 1000u);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  }
}

TEST(EventLoop, NoEventReachesASourceAfterUnwatch) {
  EventLoop loop;
  int a[2], b[2];
  ASSERT_EQ(pipe(a), 0);
  ASSERT_EQ(pipe(b), 0);
  Reader first, second;
  int calls = 0;
  auto run_once = [&](int own, Reader* own_source, int other, Reader* other_source) {
    calls++;
    loop.unwatch(other, other_source);  // both are ready in this batch
    loop.unwatch(own, own_source);
    loop.stop();
  };
  first.on_read = [&] { run_once(a[0], &first, b[0], &second); };
  second.on_read = [&] { run_once(b[0], &second, a[0], &first); };
  loop.watch(a[0], EPOLLIN, &first);
  loop.watch(b[0], EPOLLIN, &second);
  ASSERT_EQ(write(a[1], "x", 1), 1);
  ASSERT_EQ(write(b[1], "x", 1), 1);
  Bound bound(loop, 5'000'000'000);
  loop.run();
  EXPECT_EQ(calls, 1);
  for (int fd : {a[0], a[1], b[0], b[1]}) close(fd);
}

}  // namespace
}  // namespace loader
