// The frame decoder against input that somebody made up. Meant to run under ASan and UBSan too.
#include <gtest/gtest.h>

#include <random>

#include "frame/frame_codec.h"
#include "frame/wire.h"
#include "loader/v1/frame.pb.h"

namespace loader::frame {
namespace {

// A heap copy of exactly the given size: a sanitizer sees every byte read beyond it.
std::vector<uint8_t> exact(const std::string& text) {
  return {text.begin(), text.end()};
}

Fault fault_of(const std::string& bytes, const Limits& limits = {}) {
  FrameView view;
  return decode_frame(exact(bytes), Origin::kClient, view, 0, limits);
}

std::string sample() {
  v1::Frame frame;
  frame.set_seq(1'000'000);
  frame.set_position(12);
  for (int i = 0; i < 3; ++i) {
    v1::Item* item = frame.add_items();
    item->set_key("key" + std::to_string(i));
    item->set_type(v1::ITEM_TYPE_TENSOR);
    item->set_data_type(v1::DATA_TYPE_INT16);
    item->add_shape(200);
    item->add_shape(3);
    (*item->mutable_attributes())["a"] = "b";
    item->set_data(std::string(20, 'd'));
  }
  return frame.SerializeAsString();
}

// Touches everything a view points to.
size_t look_at(const FrameView& view) {
  size_t sum = 0;
  for (const ItemView& item : view.items) {
    for (const char c : item.key) sum += static_cast<unsigned char>(c);
    for (const uint8_t byte : item.data) sum += byte;
    for (const int64_t dim : view.shape(item)) sum += static_cast<size_t>(dim);
    for (const AttributeView& a : view.attributes_of(item)) sum += a.key.size() + a.value.size();
  }
  return sum;
}

// A frame cut anywhere is refused or is a valid shorter frame, as libprotobuf says.
TEST(FrameHostile, truncated_frames_are_refused_as_by_libprotobuf) {
  const std::string whole = sample();
  for (size_t size = 0; size <= whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);
    EXPECT_EQ(fault_of(cut) == Fault::kNone, v1::Frame().ParseFromString(cut)) << size;
  }
}

// Whatever bytes come in: no crash, no read beyond the end, and what is accepted libprotobuf
// accepts too and survives being written again.
TEST(FrameHostile, mutated_frames_never_get_past_libprotobuf) {
  std::mt19937 random(20);
  const std::string whole = sample();
  FrameView view;
  int accepted = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string bytes = whole.substr(0, whole.size() - random() % 8);
    for (uint32_t i = 0; i < 1 + random() % 4; ++i)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    const std::vector<uint8_t> copy = exact(bytes);
    const Origin origin = round % 2 == 0 ? Origin::kClient : Origin::kNode;
    if (decode_frame(copy, origin, view, 2) != Fault::kNone) continue;
    ++accepted;
    look_at(view);
    std::string again;
    append_frame(view, again);
    FrameView second;
    ASSERT_EQ(decode_frame(exact(again), origin, second, 2), Fault::kNone);
    ASSERT_EQ(second.items.size(), view.items.size());
    ASSERT_TRUE(v1::Frame().ParseFromString(bytes));
  }
  EXPECT_GT(accepted, 1000);
}

// Pure noise is survived.
TEST(FrameHostile, noise_is_survived) {
  std::mt19937 random(7);
  FrameView view;
  for (int round = 0; round < 100'000; ++round) {
    std::vector<uint8_t> bytes(random() % 64);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    if (decode_frame(bytes, Origin::kNode, view, 1) == Fault::kNone) look_at(view);
  }
}

// Each kind of fault has its own name.
TEST(FrameHostile, faults_are_told_apart) {
  EXPECT_EQ(fault_of(std::string("\x12\x05", 2)), Fault::kTruncated);
  EXPECT_EQ(fault_of(std::string("\x08\x80", 2)), Fault::kTruncated);
  EXPECT_EQ(fault_of("\x08" + std::string(10, '\xff') + "\x01"), Fault::kBadVarint);
  EXPECT_EQ(fault_of("\x08" + std::string(9, '\xff') + "\x7f"), Fault::kBadVarint);
  EXPECT_EQ(fault_of("\x08" + std::string(9, '\xff') + "\x01"), Fault::kNone);
  EXPECT_EQ(fault_of(std::string("\x00\x01", 2)), Fault::kBadTag);
  EXPECT_EQ(fault_of("\x2b\x2c"), Fault::kBadTag);  // a group
  EXPECT_EQ(fault_of(std::string("\x10\x00", 2)), Fault::kBadWireType);
  EXPECT_EQ(fault_of("\x12\x03\x0a\x01\xff"), Fault::kBadUtf8);
  EXPECT_EQ(fault_of("\x12\x02\x10\x08"), Fault::kBadEnum);
  EXPECT_EQ(fault_of("\x20\xff\xff\xff\xff\x1f"), Fault::kBadVarint);
}

// A length near 2^64 does not wrap around.
TEST(FrameHostile, a_huge_length_is_truncation) {
  EXPECT_EQ(fault_of("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Fault::kTruncated);
}

// The numbers of items, dimensions and attributes are bounded.
TEST(FrameHostile, too_many_of_anything_is_refused) {
  std::string items;
  for (int i = 0; i < 5; ++i) items += std::string("\x12\x00", 2);
  EXPECT_EQ(fault_of(items, {.items = 4}), Fault::kTooManyItems);
  EXPECT_EQ(fault_of(items, {.items = 5}), Fault::kNone);
  EXPECT_EQ(fault_of("\x12\x05\x2a\x03\x01\x01\x01", {.dims = 2}), Fault::kTooManyItems);
  EXPECT_EQ(fault_of(std::string("\x12\x04\x32\x00\x32\x00", 6), {.attributes = 1}),
            Fault::kTooManyItems);
}

// RFC 3629, edge by edge.
TEST(FrameHostile, utf8_is_checked_at_its_edges) {
  for (const std::string good : {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                                 "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << good;
  }
  for (const std::string bad :
       {"\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe1\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe1\x80\x41"}) {
    EXPECT_FALSE(is_utf8(bad));
  }
}

}  // namespace
}  // namespace loader::frame
