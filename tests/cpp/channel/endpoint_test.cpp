// A whole channel: both ends made and opened, a payload there and its release back.
#include "channel/endpoint.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <functional>

#include "channel/bodies.h"

namespace loader::channel {
namespace {

struct Sink : RecordSink {
  explicit Sink(std::function<void(RecordView&)> body) : each(std::move(body)) {}
  bool on_record(RecordView& record) override {
    each(record);
    return true;
  }
  std::function<void(RecordView&)> each;
};

void send_payload(Endpoint& from, RecordType type, size_t size, uint8_t value) {
  OutPayload payload = from.out->allocate(size);
  std::memset(payload.bytes().data(), value, size);
  const PayloadRef ref = payload.ref();
  from.socket->append(type, 1, {}, {&ref, 1});
  if (UniqueFd fd = payload.mark_sent()) from.socket->attach(std::move(fd));
  ASSERT_EQ(from.socket->flush(), FlushStatus::kEmpty);
}

std::vector<Payload> receive_payloads(Endpoint& at) {
  std::vector<Payload> payloads;
  Sink sink([&](RecordView& record) { EXPECT_TRUE(at.in->open(record, payloads)); });
  EXPECT_EQ(at.socket->read(sink), ReadStatus::kDrained);
  return payloads;
}

void return_blocks(Endpoint& from, Endpoint& to) {
  std::vector<uint32_t> scratch;
  ASSERT_TRUE(append_releases(from, scratch));
  from.socket->flush();
  Sink sink([&](RecordView& record) {
    ReleaseBody body;
    ASSERT_TRUE(decode(record.body, body));
    for (const uint32_t block : body.blocks) EXPECT_TRUE(to.out->release(block));
  });
  EXPECT_EQ(to.socket->read(sink), ReadStatus::kDrained);
}

// A payload goes there and back through both arenas, and both are empty in the end.
TEST(Endpoint, payloads_travel_both_ways) {
  auto [loader, descriptors] = create_channel(1 << 20);
  Endpoint host = open_channel(std::move(descriptors));
  for (const auto& [from, to, type] : {std::tuple(&loader, &host, RecordType::kWrite),
                                       std::tuple(&host, &loader, RecordType::kResult)}) {
    send_payload(*from, type, 100'000, 'p');
    {
      const std::vector<Payload> payloads = receive_payloads(*to);
      ASSERT_EQ(payloads.size(), 1u);
      EXPECT_EQ(payloads[0].bytes().size(), 100'000u);
      EXPECT_EQ(payloads[0].bytes()[99'999], 'p');
    }
    EXPECT_EQ(from->out->block_count(), 1u);
    return_blocks(*to, *from);
    EXPECT_EQ(from->out->block_count(), 0u);
  }
}

// A payload above a quarter of the arena travels as a file and needs no release.
TEST(Endpoint, large_payloads_travel_as_files) {
  auto [loader, descriptors] = create_channel(1 << 20);
  Endpoint host = open_channel(std::move(descriptors));
  send_payload(host, RecordType::kResult, 2 << 20, 'f');
  const std::vector<Payload> payloads = receive_payloads(loader);
  ASSERT_EQ(payloads.size(), 1u);
  EXPECT_EQ(payloads[0].bytes()[(2 << 20) - 1], 'f');
  std::vector<uint32_t> scratch;
  EXPECT_FALSE(append_releases(loader, scratch));
}

// A payload received from a host that died stays readable.
TEST(Endpoint, results_survive_the_host) {
  auto [loader, descriptors] = create_channel(1 << 20);
  std::vector<Payload> payloads;
  {
    Endpoint host = open_channel(std::move(descriptors));
    send_payload(host, RecordType::kResult, 50'000, 'd');
    payloads = receive_payloads(loader);
  }
  loader = {};
  EXPECT_EQ(payloads.at(0).bytes()[49'999], 'd');
}

// A replaced arena is announced by a record and used from there on.
TEST(Endpoint, the_loaders_arena_is_replaced_while_it_runs) {
  auto [loader, descriptors] = create_channel(1 << 20);
  Endpoint host = open_channel(std::move(descriptors));
  send_payload(loader, RecordType::kWrite, 200'000, 'a');
  receive_payloads(host);
  return_blocks(host, loader);
  auto fresh = loader.out->replace_if_idle(0);
  ASSERT_TRUE(fresh.has_value());
  const PayloadRef ref{kInMemfd, 0, 0, 1 << 20};
  std::vector<uint8_t> body(8);
  write(ArenaBody{1 << 20}, body.data());
  loader.socket->append(RecordType::kArena, 0, body, {&ref, 1});
  loader.socket->attach(std::move(*fresh));
  send_payload(loader, RecordType::kWrite, 200'000, 'b');
  std::vector<Payload> payloads;
  Sink sink([&](RecordView& record) {
    EXPECT_TRUE(record.type == RecordType::kArena ? host.in->replace(record)
                                                  : host.in->open(record, payloads));
  });
  for (int i = 0; i < 3; ++i) host.socket->read(sink);
  ASSERT_EQ(payloads.size(), 1u);
  EXPECT_EQ(payloads[0].bytes()[0], 'b');
}

// Descriptors that are no arenas are refused with a reason.
TEST(Endpoint, files_that_are_no_arenas_are_refused) {
  auto [loader, descriptors] = create_channel(1 << 20);
  descriptors.arena_in.reset(memfd_create("plain", MFD_CLOEXEC));
  EXPECT_THROW(open_channel(std::move(descriptors)), std::runtime_error);
}

}  // namespace
}  // namespace loader::channel
