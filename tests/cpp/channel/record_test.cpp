// The record layout and the checks of its reader.
#include "channel/record.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace loader::channel {
namespace {

using Status = RecordReader::Status;

std::vector<uint8_t> make_record(RecordType type, std::span<const PayloadRef> payloads,
                                 const std::string& body) {
  ByteBuffer buffer;
  append_record(buffer, type, make_handle(3, 7), payloads,
                {reinterpret_cast<const uint8_t*>(body.data()), body.size()});
  const auto bytes = buffer.bytes();
  return {bytes.begin(), bytes.end()};
}

void poke16(std::vector<uint8_t>& bytes, size_t at, uint16_t value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}
void poke32(std::vector<uint8_t>& bytes, size_t at, uint32_t value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

Status read(const std::vector<uint8_t>& bytes, Side side = Side::kHost) {
  RecordReader reader(side, 1000);
  RecordView record;
  const Status status = reader.next(bytes, record);
  EXPECT_EQ(status == Status::kFault, !reader.fault().empty());
  return status;
}

// What is written is read: type, handle, references, body.
TEST(RecordReader, a_record_is_read_as_written) {
  const PayloadRef refs[] = {{kInArena, 5, 32768, 20000}, {kInMemfd, 0, 0, 9}};
  const std::vector<uint8_t> bytes = make_record(RecordType::kWrite, refs, "body");
  RecordReader reader(Side::kHost);
  RecordView record;
  ASSERT_EQ(reader.next(bytes, record), Status::kRecord);
  EXPECT_EQ(reader.consumed(), bytes.size());
  EXPECT_EQ(record.type, RecordType::kWrite);
  EXPECT_EQ(index_of(record.handle), 7u);
  EXPECT_EQ(generation_of(record.handle), 3u);
  ASSERT_EQ(record.payloads.size(), 2u);
  EXPECT_EQ(record.payloads[0].offset, 32768u);
  EXPECT_EQ(record.payloads[1].size, 9u);
  EXPECT_EQ(record.payload_bytes(), 20009u);
  EXPECT_EQ(record.body.size(), 4u);
}

// Until the last byte is there, the reader says how many it wants.
TEST(RecordReader, a_partial_record_waits) {
  const std::vector<uint8_t> bytes = make_record(RecordType::kWrite, {}, "0123456789");
  RecordReader reader(Side::kHost);
  RecordView record;
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(reader.next({bytes.data(), size}, record), Status::kIncomplete);
    EXPECT_EQ(reader.needed(), size < kHeaderBytes ? kHeaderBytes : bytes.size());
  }
}

// Each way a header can lie is a fault at once, before its body came.
TEST(RecordReader, a_lying_header_is_a_fault) {
  const std::vector<uint8_t> good = make_record(RecordType::kWrite, {}, "0123456789");
  ASSERT_EQ(read(good), Status::kRecord);
  std::vector<uint8_t> bad = good;
  poke32(bad, 0, 1001);
  EXPECT_EQ(read(bad), Status::kFault) << "larger than allowed";
  bad = good;
  poke32(bad, 0, 15);
  EXPECT_EQ(read(bad), Status::kFault) << "smaller than a header";
  bad = good;
  poke16(bad, 6, 1);
  EXPECT_EQ(read(bad), Status::kFault) << "no room for its references";
  bad = good;
  poke16(bad, 6, 0xffff);
  EXPECT_EQ(read(bad), Status::kFault) << "too many references";
  bad = good;
  poke16(bad, 4, 999);
  EXPECT_EQ(read(bad), Status::kFault) << "unknown type";
}

// One record names at most kMaxPayloads payloads, also where there is room for more.
TEST(RecordReader, the_number_of_references_is_bounded) {
  const std::vector<PayloadRef> refs(kMaxPayloads + 1, PayloadRef{kInArena, 1, 0, 1});
  RecordReader reader(Side::kHost);
  RecordView record;
  EXPECT_EQ(reader.next(make_record(RecordType::kWrite, {refs.data(), kMaxPayloads}, ""), record),
            Status::kRecord);
  EXPECT_EQ(reader.next(make_record(RecordType::kWrite, refs, ""), record), Status::kFault);
}

// A reference that cannot be right is a fault.
TEST(RecordReader, an_impossible_reference_is_a_fault) {
  for (const PayloadRef ref :
       {PayloadRef{0, 0, 0, 1}, PayloadRef{3, 0, 0, 1}, PayloadRef{kInMemfd, 1, 0, 1},
        PayloadRef{kInMemfd, 0, 1, 1}, PayloadRef{kInMemfd, 0, 0, 0}}) {
    EXPECT_EQ(read(make_record(RecordType::kWrite, {&ref, 1}, "")), Status::kFault);
  }
  const PayloadRef wrap[] = {{kInArena, 0, 0, UINT64_MAX}, {kInArena, 0, 0, 2}};
  EXPECT_EQ(read(make_record(RecordType::kWrite, wrap, "")), Status::kFault);
}

// Each side takes only what the other may send.
TEST(RecordReader, records_for_the_other_side_are_refused) {
  EXPECT_EQ(read(make_record(RecordType::kCompletion, {}, ""), Side::kHost), Status::kFault);
  EXPECT_EQ(read(make_record(RecordType::kWrite, {}, ""), Side::kLoader), Status::kFault);
  EXPECT_EQ(read(make_record(RecordType::kArena, {}, ""), Side::kLoader), Status::kFault);
  EXPECT_EQ(read(make_record(RecordType::kLoadResource, {}, ""), Side::kLoader), Status::kFault);
  EXPECT_EQ(read(make_record(RecordType::kUnloadResource, {}, ""), Side::kHost), Status::kRecord);
  for (const RecordType both : {RecordType::kHello, RecordType::kCredit, RecordType::kRelease}) {
    EXPECT_EQ(read(make_record(both, {}, ""), Side::kHost), Status::kRecord);
    EXPECT_EQ(read(make_record(both, {}, ""), Side::kLoader), Status::kRecord);
  }
}

// Every type has a name for the log.
TEST(RecordReader, every_type_has_a_name) {
  for (uint16_t type = 0; type < 100; ++type) {
    const auto value = static_cast<RecordType>(type);
    const bool is_known = is_expected(value, Side::kHost) || is_expected(value, Side::kLoader);
    EXPECT_EQ(std::string(name_of(value)) != "unknown", is_known) << type;
  }
}

// Random bytes never make the reader look beyond them.
TEST(RecordReader, noise_is_survived) {
  std::mt19937 random(2);
  const PayloadRef refs[] = {{kInArena, 5, 32768, 20000}, {kInMemfd, 0, 0, 9}};
  const std::vector<uint8_t> good = make_record(RecordType::kWrite, refs, "0123456789");
  for (int round = 0; round < 100'000; ++round) {
    std::vector<uint8_t> bytes = good;
    for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    bytes.resize(random() % (bytes.size() + 1));
    bytes.shrink_to_fit();
    RecordReader reader(Side::kHost);
    RecordView record;
    if (reader.next(bytes, record) == Status::kRecord) {
      EXPECT_LE(reader.consumed(), bytes.size());
    }
  }
}

// A buffer keeps its bytes while it grows, moves and shrinks.
TEST(ByteBuffer, bytes_survive_growing_and_consuming) {
  ByteBuffer buffer;
  uint32_t written = 0;
  uint32_t read = 0;
  std::mt19937 random(4);
  for (int round = 0; round < 5000; ++round) {
    for (uint32_t i = random() % 200; i > 0; --i) {
      std::memcpy(buffer.extend(4), &written, 4);
      ++written;
    }
    for (uint32_t i = random() % 200; i > 0 && !buffer.empty(); --i) {
      uint32_t value = 0;
      std::memcpy(&value, buffer.data(), 4);
      ASSERT_EQ(value, read);
      ++read;
      buffer.consume(4);
    }
    buffer.shrink(1 << 15);
  }
  EXPECT_EQ(buffer.size(), size_t{written - read} * 4);
}

}  // namespace
}  // namespace loader::channel
