// What a declaration admits and refuses.
#include "server/validate.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "loader/wrapper.h"

namespace loader::server {
namespace {

constexpr const char* kDeclaration = R"({
  "inputs": [
    {"key": "audio", "type": "audio", "required": true, "attributes": {"rate": "16000"}},
    {"key": "mask", "type": "tensor", "data_type": "fp32", "shape": [2, -1], "required": false}],
  "parameters": [
    {"name": "rate", "type": "integer", "minimum": 8000, "maximum": 48000, "default": 16000},
    {"name": "voice", "type": "string", "enum": ["en", "de"], "required": true},
    {"name": "gain", "type": "number"}, {"name": "fast", "type": "boolean"}],
  "properties": {"non_blocking": true}})";

std::string refusal(std::vector<Parameter> parameters) {
  return Schema::parse(kDeclaration)->check_parameters(parameters).value_or("");
}

frame::Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string refusal(const frame::FrameView& frame, bool is_whole = false) {
  return Schema::parse(kDeclaration)->check_frame(frame, is_whole).value_or("");
}

TEST(Validate, DefaultsAreFilledIn) {
  auto schema = Schema::parse(kDeclaration);
  std::vector<Parameter> given = {{"voice", "\"en\""}};
  EXPECT_EQ(schema->check_parameters(given), std::nullopt);
  ASSERT_EQ(given.size(), 2u);
  EXPECT_EQ(given[1], Parameter("rate", "16000"));
}

TEST(Validate, ParametersOutsideTheDeclarationAreRefusedWithTheValueSeen) {
  EXPECT_EQ(refusal({{"voice", "\"en\""}, {"rate", "8000"}, {"gain", "0.5"}, {"fast", "true"}}),
            "");
  EXPECT_NE(refusal({{"voice", "\"en\""}, {"rate", "4000"}}).find("4000"), std::string::npos);
  EXPECT_NE(refusal({{"voice", "\"en\""}, {"rate", "96000"}}).find("48000"), std::string::npos);
  EXPECT_NE(refusal({{"voice", "\"en\""}, {"rate", "8000.5"}}).find("integer"), std::string::npos);
  EXPECT_NE(refusal({{"voice", "\"fr\""}}).find("\"de\""), std::string::npos);
  EXPECT_NE(refusal({{"voice", "en"}}).find("JSON"), std::string::npos);
  EXPECT_NE(refusal({{"voice", "\"en\""}, {"fast", "1"}}).find("true or false"), std::string::npos);
  EXPECT_NE(refusal({{"voice", "\"en\""}, {"speed", "1"}}).find("speed"), std::string::npos);
  EXPECT_NE(refusal(std::vector<Parameter>{}).find("voice"), std::string::npos);
}

TEST(Validate, ItemsOutsideTheDeclarationAreRefused) {
  frame::FrameView frame;
  frame.add_item("audio", bytes_of("xx")).type = LOADER_ITEM_AUDIO;
  frame.add_attribute("rate", "16000");
  EXPECT_EQ(refusal(frame, true), "");
  frame.clear();
  frame.add_item("audio", bytes_of("xx")).type = LOADER_ITEM_AUDIO;
  frame.add_attribute("rate", "8000");
  EXPECT_NE(refusal(frame).find("8000"), std::string::npos);
  frame.clear();
  frame.add_item("audio", bytes_of("xx")).type = LOADER_ITEM_TEXT;
  EXPECT_NE(refusal(frame).find("text"), std::string::npos);
  frame.clear();
  frame.add_item("video", bytes_of("xx"));
  EXPECT_NE(refusal(frame).find("audio, mask"), std::string::npos);
}

TEST(Validate, OnlyAWholeRequestMustHaveEveryRequiredInput) {
  frame::FrameView frame;
  EXPECT_EQ(refusal(frame, false), "");
  EXPECT_NE(refusal(frame, true).find("missing"), std::string::npos);
}

std::string tensor_refusal(std::initializer_list<int64_t> shape, uint32_t data_type, size_t size) {
  std::string data(size, 'x');
  frame::FrameView frame;
  frame::ItemView& item = frame.add_item("mask", bytes_of(data));
  item.type = LOADER_ITEM_TENSOR;
  item.data_type = data_type;
  for (int64_t extent : shape) frame.add_dim(extent);
  return refusal(frame);
}

TEST(Validate, TensorsMustHaveTheDeclaredTypeAndShapeAndTheirOwnSize) {
  EXPECT_EQ(tensor_refusal({2, 3}, LOADER_TYPE_FP32, 24), "");
  EXPECT_EQ(tensor_refusal({2, 0}, LOADER_TYPE_FP32, 0), "");
  EXPECT_NE(tensor_refusal({2, 3}, LOADER_TYPE_FP64, 48), "");
  EXPECT_NE(tensor_refusal({3, 2}, LOADER_TYPE_FP32, 24), "");
  EXPECT_NE(tensor_refusal({2, 3}, LOADER_TYPE_FP32, 23), "");
  EXPECT_NE(tensor_refusal({2, -3}, LOADER_TYPE_FP32, 24), "");
  EXPECT_NE(tensor_refusal({2, int64_t{1} << 62}, LOADER_TYPE_FP32, 0), "");
}

TEST(Validate, NothingDeclaredChecksNothing) {
  auto schema = Schema::parse("");
  std::vector<Parameter> any = {{"x", "not json"}};
  EXPECT_EQ(schema->check_parameters(any), std::nullopt);
  frame::FrameView frame;
  frame.add_item("anything", bytes_of("x"));
  EXPECT_EQ(schema->check_frame(frame, true), std::nullopt);
}

TEST(Validate, AnItemWithoutKeyOrWithTextThatIsNoUtf8IsRefusedByEveryEngine) {
  auto refusal_of = [](std::string_view key, std::string_view data, uint32_t type) {
    frame::FrameView frame;
    frame.add_item(key, bytes_of(data)).type = type;
    return Schema::parse("")->check_frame(frame, false).value_or("");
  };
  EXPECT_NE(refusal_of("", "x", LOADER_ITEM_BYTES).find("no key"), std::string::npos);
  EXPECT_NE(refusal_of("a", "\xff\xfe", LOADER_ITEM_TEXT).find("not UTF-8"), std::string::npos);
  EXPECT_NE(refusal_of("a", "{\"b\": \"\xc3\"}", LOADER_ITEM_JSON), "");
  EXPECT_EQ(refusal_of("a", "gr\xc3\xbc\xc3\x9f", LOADER_ITEM_TEXT), "");
  EXPECT_EQ(refusal_of("a", "\xff\xfe", LOADER_ITEM_BYTES), "");
}

TEST(Validate, ADeclarationThatIsNoJsonObjectIsRefused) {
  EXPECT_THROW(Schema::parse("[1]"), std::invalid_argument);
  EXPECT_THROW(Schema::parse(R"({"inputs": 3})"), std::invalid_argument);
  EXPECT_THROW(Schema::parse(R"({"inputs": [{"key": "a", "type": "sound"}]})"),
               std::invalid_argument);
}

}  // namespace
}  // namespace loader::server
