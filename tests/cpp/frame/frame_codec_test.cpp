// The frame codec against libprotobuf as the oracle, both ways.
#include "frame/frame_codec.h"

#include <gtest/gtest.h>

#include "loader/v1/frame.pb.h"

namespace loader::frame {
namespace {

Bytes as_bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

v1::Frame make_oracle() {
  v1::Frame frame;
  frame.set_seq(300);
  frame.set_position(-7);
  frame.set_epoch(2);
  v1::Item* audio = frame.add_items();
  audio->set_key("audio");
  audio->set_type(v1::ITEM_TYPE_AUDIO);
  audio->set_status(v1::ITEM_STATUS_BEGIN);
  (*audio->mutable_attributes())["rate"] = "16000";
  (*audio->mutable_attributes())["encoding"] = "";
  audio->set_data(std::string(1000, '\x7f'));
  v1::Item* tensor = frame.add_items();
  tensor->set_key("größe");
  tensor->set_type(v1::ITEM_TYPE_TENSOR);
  tensor->set_data_type(v1::DATA_TYPE_FP32);
  for (const int64_t dim : {1, 0, -1, 1 << 20}) tensor->add_shape(dim);
  tensor->set_data("0123");
  frame.add_items();
  return frame;
}

FrameView decode(const std::string& bytes, Origin origin = Origin::kClient, uint32_t payloads = 0) {
  FrameView view;
  EXPECT_EQ(decode_frame(as_bytes(bytes), origin, view, payloads), Fault::kNone);
  return view;
}

// Frames written by libprotobuf are read field by field.
TEST(FrameCodec, reads_what_libprotobuf_writes) {
  const std::string bytes = make_oracle().SerializeAsString();
  const FrameView view = decode(bytes);
  EXPECT_EQ(view.seq, 300u);
  EXPECT_TRUE(view.has_position);
  EXPECT_EQ(view.position, -7);
  EXPECT_EQ(view.epoch, 2u);
  ASSERT_EQ(view.items.size(), 3u);
  EXPECT_EQ(view.items[0].key, "audio");
  EXPECT_EQ(view.items[0].type, 4u);
  EXPECT_EQ(view.items[0].status, 1u);
  EXPECT_EQ(view.items[0].data.size(), 1000u);
  ASSERT_EQ(view.attributes_of(view.items[0]).size(), 2u);
  EXPECT_EQ(view.items[1].key, "größe");
  EXPECT_EQ(view.items[1].data_type, 11u);
  const auto shape = view.shape(view.items[1]);
  EXPECT_EQ(std::vector<int64_t>(shape.begin(), shape.end()),
            (std::vector<int64_t>{1, 0, -1, 1 << 20}));
  EXPECT_TRUE(view.items[2].data.empty());
  EXPECT_EQ(view.unknown_fields, 0u);
}

// Decoding points into the bytes: nothing is copied.
TEST(FrameCodec, views_point_into_the_bytes) {
  const std::string bytes = make_oracle().SerializeAsString();
  const FrameView view = decode(bytes);
  EXPECT_GE(view.items[0].data.data(), as_bytes(bytes).data());
  EXPECT_LT(view.items[0].data.data(), as_bytes(bytes).data() + bytes.size());
}

// Frames that we write are read by libprotobuf with equal content, and the announced size is exact.
TEST(FrameCodec, writes_what_libprotobuf_reads) {
  const v1::Frame oracle = make_oracle();
  const std::string bytes = oracle.SerializeAsString();
  const FrameView view = decode(bytes);
  std::string written = "before";
  append_frame(view, written);
  EXPECT_EQ(written.size(), 6 + encoded_size(view));
  v1::Frame parsed;
  ASSERT_TRUE(parsed.ParseFromString(written.substr(6)));
  EXPECT_EQ(parsed.DebugString(), oracle.DebugString());
}

// A frame without anything is still a frame of no bytes.
TEST(FrameCodec, an_empty_frame_has_no_bytes) {
  EXPECT_EQ(encoded_size(FrameView{}), 0u);
  EXPECT_TRUE(decode("").items.empty());
}

// An unpacked shape, as old writers send it, is read like a packed one.
TEST(FrameCodec, reads_an_unpacked_shape) {
  const std::string bytes = std::string("\x12\x04\x28\x02\x28\x03", 6);
  const FrameView view = decode(bytes);
  ASSERT_EQ(view.items.size(), 1u);
  EXPECT_EQ(view.shape(view.items[0]).size(), 2u);
  EXPECT_EQ(view.shape(view.items[0])[1], 3);
}

// Inside a node an external payload is field 15 and its data is not written.
TEST(FrameCodec, a_referenced_payload_travels_as_an_index) {
  FrameView view;
  const std::string payload(100'000, 'x');
  const std::string small = "inline";
  view.add_item("a", as_bytes(payload)).payload = 2;
  view.add_item("b", as_bytes(small));
  std::string bytes;
  append_frame(view, bytes);
  EXPECT_LT(bytes.size(), 40u);
  const FrameView read = decode(bytes, Origin::kNode, 2);
  EXPECT_EQ(read.items[0].payload, 2u);
  EXPECT_TRUE(read.items[0].data.empty());
  EXPECT_EQ(read.items[1].payload, 0u);
}

// A payload index beyond the payloads that came along is refused, and so is index 0.
TEST(FrameCodec, a_reference_to_no_payload_is_refused) {
  FrameView view;
  view.add_item("a", {}).payload = 3;
  std::string bytes;
  append_frame(view, bytes);
  FrameView read;
  EXPECT_EQ(decode_frame(as_bytes(bytes), Origin::kNode, read, 2), Fault::kBadPayload);
  EXPECT_EQ(decode_frame(as_bytes(bytes), Origin::kNode, read, 3), Fault::kNone);
  const std::string zero("\x12\x02\x78\x00", 4);
  EXPECT_EQ(decode_frame(as_bytes(zero), Origin::kNode, read, 3), Fault::kBadPayload);
}

// Data and a reference in one item contradict each other.
TEST(FrameCodec, a_reference_beside_data_is_refused) {
  const std::string bytes("\x12\x05\x3a\x01x\x78\x01", 7);
  FrameView read;
  EXPECT_EQ(decode_frame(as_bytes(bytes), Origin::kNode, read, 1), Fault::kBadPayload);
}

// Field 15 of a client is an unknown field: the rewritten frame does not carry it.
TEST(FrameCodec, a_reference_from_a_client_is_dropped) {
  FrameView forged;
  forged.add_item("a", {}).payload = 1;
  std::string bytes;
  append_frame(forged, bytes);
  const FrameView view = decode(bytes, Origin::kClient);
  EXPECT_TRUE(view.needs_rewrite);
  EXPECT_EQ(view.unknown_fields, 1u);
  EXPECT_EQ(view.items[0].payload, 0u);
  std::string clean;
  append_frame(view, clean);
  const FrameView again = decode(clean, Origin::kNode, 1);
  EXPECT_EQ(again.items[0].payload, 0u);
}

// Unknown fields of every wire type are skipped and counted, at both depths.
TEST(FrameCodec, unknown_fields_are_skipped_and_counted) {
  v1::Frame oracle = make_oracle();
  for (google::protobuf::Message* message :
       std::vector<google::protobuf::Message*>{&oracle, oracle.mutable_items(0)}) {
    google::protobuf::UnknownFieldSet* unknown =
        message->GetReflection()->MutableUnknownFields(message);
    unknown->AddVarint(100, UINT64_MAX);
    unknown->AddFixed32(101, 1);
    unknown->AddFixed64(102, 1);
    unknown->AddLengthDelimited(103, "x");
  }
  const FrameView view = decode(oracle.SerializeAsString());
  EXPECT_EQ(view.unknown_fields, 8u);
  EXPECT_FALSE(view.needs_rewrite);
  EXPECT_EQ(view.items.size(), 3u);
}

// A gathering write leaves large payloads out; put in at the cuts they give the whole frame.
TEST(FrameCodec, a_split_frame_is_whole_with_its_payloads) {
  const std::string large(50'000, 'L');
  const std::string small = "s";
  FrameView view;
  view.seq = 9;
  view.add_item("first", as_bytes(large)).payload = 1;
  view.add_item("small", as_bytes(small));
  view.add_item("last", as_bytes(large));
  std::vector<Cut> cuts;
  std::string bytes(split_size(view, 1024), '\0');
  auto* begin = reinterpret_cast<uint8_t*>(bytes.data());
  EXPECT_EQ(write_frame_split(view, 1024, begin, cuts), begin + bytes.size());
  ASSERT_EQ(cuts.size(), 2u);
  for (size_t i = cuts.size(); i-- > 0;) {
    const Bytes data = view.items[cuts[i].item].data;
    bytes.insert(cuts[i].offset, reinterpret_cast<const char*>(data.data()), data.size());
  }
  v1::Frame parsed;
  ASSERT_TRUE(parsed.ParseFromString(bytes));
  EXPECT_EQ(parsed.seq(), 9u);
  ASSERT_EQ(parsed.items_size(), 3);
  EXPECT_EQ(parsed.items(0).data(), large);
  EXPECT_EQ(parsed.items(1).data(), "s");
  EXPECT_EQ(parsed.items(2).data(), large);
}

// A view keeps its memory from frame to frame.
TEST(FrameCodec, decoding_again_does_not_allocate) {
  const std::string bytes = make_oracle().SerializeAsString();
  FrameView view = decode(bytes);
  const auto* items = view.items.data();
  const auto* dims = view.dims.data();
  ASSERT_EQ(decode_frame(as_bytes(bytes), Origin::kClient, view), Fault::kNone);
  EXPECT_EQ(view.items.data(), items);
  EXPECT_EQ(view.dims.data(), dims);
  EXPECT_EQ(view.items.size(), 3u);
}

}  // namespace
}  // namespace loader::frame
