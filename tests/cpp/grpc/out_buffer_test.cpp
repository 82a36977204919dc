// Queued bytes leave in order, by copy or by reference, and payloads are released exactly once.
#include "grpc/out_buffer.h"

#include <gtest/gtest.h>

#include "grpc/socket_queue.h"

namespace loader::grpc {
namespace {

int released = 0;
Payload payload(const std::string& bytes) {
  return Payload(
      bytes.data(), bytes.size(), [](void*, uint64_t) { released++; }, nullptr);
}

std::string wire_of(SocketQueue& queue) {
  std::string out;
  iovec v[64];
  int n = queue.vectors(v, 64);
  for (int i = 0; i < n; i++) out.append(static_cast<const char*>(v[i].iov_base), v[i].iov_len);
  return out;
}

// "head" + payload "PAYLOAD" + "tail", then a second message "next".
struct TwoMessages {
  std::string foreign = "PAYLOAD";
  OutBuffer out;
  TwoMessages() {
    released = 0;
    out.add("head");
    out.add(SharedPayload(payload(foreign)));
    out.add("tail");
    out.commit(15);
    out.add("next");
    out.commit(4);
  }
};

TEST(OutBuffer, EveryCutGathersTheSameBytesAndReleasesOnce) {
  const std::string all = "headPAYLOADtailnext";
  for (size_t cut = 0; cut <= all.size(); cut++) {
    TwoMessages m;
    SocketQueue queue;
    m.out.gather(cut, queue);
    EXPECT_EQ(wire_of(queue), all.substr(0, cut));
    m.out.gather(m.out.size(), queue);
    EXPECT_EQ(wire_of(queue), all) << cut;
    EXPECT_TRUE(m.out.is_empty());
    EXPECT_EQ(released, 0) << "the kernel has not taken it yet";
    queue.pop(all.size());
    EXPECT_EQ(released, 1);
  }
}

TEST(OutBuffer, CopyingReleasesAtTheLastByte) {
  TwoMessages m;
  uint8_t to[32];
  m.out.copy_to(to, 10);
  EXPECT_EQ(released, 0);
  m.out.copy_to(to, 1);
  EXPECT_EQ(released, 1);
}

TEST(OutBuffer, DroppingKeepsTheMessageOnTheWire) {
  const std::string first = "headPAYLOADtail";
  for (size_t sent = 1; sent < first.size(); sent++) {
    TwoMessages m;
    uint8_t to[32];
    m.out.copy_to(to, sent);
    EXPECT_TRUE(m.out.is_inside_message());
    m.out.drop_whole_messages();
    ASSERT_EQ(m.out.size(), first.size() - sent) << sent;
    m.out.copy_to(to, m.out.size());
    EXPECT_EQ(std::string(reinterpret_cast<char*>(to), first.size() - sent), first.substr(sent));
    EXPECT_TRUE(m.out.is_empty());
    EXPECT_EQ(released, 1);
  }
}

TEST(OutBuffer, DroppingBetweenMessagesDropsAll) {
  TwoMessages m;
  uint8_t to[32];
  m.out.copy_to(to, 15);
  EXPECT_FALSE(m.out.is_inside_message());
  m.out.drop_whole_messages();
  EXPECT_TRUE(m.out.is_empty());
}

// A frame head with this length is on the wire already: the bytes must follow, whatever happens to
// the call meanwhile.
TEST(OutBuffer, DroppingKeepsWhatIsPromised) {
  const std::string all = "headPAYLOADtailnext";
  for (size_t taken = 0; taken < all.size(); taken++) {
    for (size_t promised = 1; taken + promised <= all.size(); promised++) {
      TwoMessages m;
      uint8_t to[32];
      m.out.copy_to(to, taken);
      m.out.promise(promised);
      m.out.drop_whole_messages();
      size_t end = taken + promised <= 15 ? 15 : all.size();
      ASSERT_EQ(m.out.size(), end - taken) << taken << " taken, promised " << promised;
      EXPECT_EQ(m.out.is_inside_message(), taken + promised != end);
      SocketQueue queue;
      m.out.gather(promised, queue);
      EXPECT_EQ(wire_of(queue), all.substr(taken, promised));
      EXPECT_EQ(m.out.is_inside_message(), taken + promised != end);
      m.out.gather(m.out.size(), queue);
      EXPECT_EQ(wire_of(queue), all.substr(taken, end - taken));
      EXPECT_FALSE(m.out.is_inside_message());
    }
  }
}

// A reader who is always a little behind, and one who stops: memory follows what waits, not what
// has passed.
TEST(OutBuffer, MemoryFollowsWhatWaits) {
  constexpr size_t kMessage = 1000;
  OutBuffer out;
  const std::string message(kMessage, 'm');
  uint8_t to[kMessage];
  const auto add = [&] {
    out.add(message);
    out.commit(kMessage);
  };
  for (int i = 0; i < 10; i++) add();
  for (int i = 0; i < 1000; i++) {
    add();
    out.copy_to(to, kMessage);
  }
  EXPECT_LE(out.storage().capacity(), 32u << 10);
  while (out.size() < 65 << 10) add();
  EXPECT_LE(out.storage().capacity(), 76u << 10);
  for (int i = 0; i < 1000; i++) {
    add();
    out.copy_to(to, kMessage);
  }
  EXPECT_LE(out.storage().capacity(), 76u << 10);
}

TEST(OutBuffer, ClearReleasesPayloads) {
  TwoMessages m;
  m.out.clear();
  EXPECT_EQ(released, 1);
  EXPECT_EQ(m.out.size(), 0u);
}

TEST(OutBuffer, PayloadIsSeenOnlyWithinReach) {
  TwoMessages m;
  EXPECT_FALSE(m.out.has_payload_within(4));
  EXPECT_TRUE(m.out.has_payload_within(5));
}

TEST(SocketQueueTest, EveryPartialWriteLeavesTheRest) {
  const std::string all = "headPAYLOADtailnext";
  for (size_t cut = 0; cut < all.size(); cut++) {
    TwoMessages m;
    SocketQueue queue;
    m.out.gather(all.size(), queue);
    queue.pop(cut);
    EXPECT_EQ(wire_of(queue), all.substr(cut));
    EXPECT_EQ(queue.size(), all.size() - cut);
    EXPECT_EQ(all.substr(cut, queue.front().size()), queue.front());
    EXPECT_EQ(released, cut >= 11 ? 1 : 0);
  }
}

TEST(PayloadTest, MovingReleasesOnce) {
  released = 0;
  std::string bytes = "x";
  {
    Payload a = payload(bytes);
    Payload b = std::move(a);
    a = std::move(b);
    a = Payload();
    EXPECT_EQ(released, 1);
  }
  EXPECT_EQ(released, 1);
}

}  // namespace
}  // namespace loader::grpc
