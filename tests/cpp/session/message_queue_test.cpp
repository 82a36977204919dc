// MessageQueue keeps order, bytes and payloads.
#include "session/message_queue.h"

#include <gtest/gtest.h>

#include "support.h"

namespace loader::session::test {
namespace {

// What is pushed comes out in order, large and small mixed, with its window bytes.
TEST(MessageQueue, KeepsOrderAndBytes) {
  MessageQueue queue;
  std::deque<std::string> expected;
  uint64_t bytes = 0;
  for (size_t i = 0; i < 2000; ++i) {
    const std::string text(i % 7 == 0 ? 9000 : i % 100, static_cast<char>('a' + i % 26));
    queue.push(view_of(text, i));
    expected.push_back(text);
    bytes += text.size();
    if (i % 3 == 0) {
      EXPECT_EQ(text_of(queue.front()), expected.front());
      bytes -= expected.front().size();
      expected.pop_front();
      queue.pop();
    }
    EXPECT_EQ(queue.bytes(), bytes);
  }
  for (; !expected.empty(); expected.pop_front()) {
    EXPECT_EQ(text_of(queue.front()), expected.front());
    queue.pop();
  }
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0u);
}

// A message at the front stays where it is while others are pushed.
TEST(MessageQueue, FrontStaysWhileOthersArePushed) {
  MessageQueue queue;
  queue.push(view_of("first"));
  const MessageView front = queue.front();
  for (int i = 0; i < 1000; ++i) queue.push(view_of(std::string(500, 'x')));
  EXPECT_EQ(text_of(front), "first");
}

// Payloads are retained while queued and released exactly once, by pop, clear or the destructor.
TEST(MessageQueue, PayloadsAreReleasedExactlyOnce) {
  CountedOwner owner;
  const std::string bytes = "payload";
  const PayloadView payload{view_of(bytes).body, &owner, 42};
  {
    MessageQueue queue;
    const std::vector<PayloadView> two = {payload, payload};
    for (int i = 0; i < 3; ++i) queue.push({view_of("body").body, two, 0});
    EXPECT_EQ(owner.count, 6);
    EXPECT_EQ(queue.front().payloads[1].token, 42u);
    EXPECT_EQ(queue.bytes(), 3 * (4 + 2 * bytes.size()));
    queue.pop();
    EXPECT_EQ(owner.count, 4);
    queue.clear();
    EXPECT_EQ(owner.count, 0);
    queue.push({view_of("body").body, two, 0});
  }
  EXPECT_EQ(owner.count, 0);
}

}  // namespace
}  // namespace loader::session::test
