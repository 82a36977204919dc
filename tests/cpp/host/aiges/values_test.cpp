// JSON values as texts.
#include "host/aiges/values.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace loader::host::aiges {
namespace {

// As the parser of a TOML file and Go's formatting make them.
TEST(AigesValues, TextsAreAsInAiges) {
  const std::pair<const char*, const char*> cases[] = {
      {"\"en\"", "en"},
      {"16000", "16000"},
      {"-3", "-3"},
      {"2.50", "2.5"},
      {"3.0", "3"},
      {"1e3", "1000"},
      {"1e-07", "0.0000001"},
      {"0.1", "0.1"},
      {"1e+16", "10000000000000000"},
      {"true", "true"},
      {"false", "false"},
      {"null", ""},
      {"\"\"", ""},
      {R"("\"\\\n\u00e9\ud83d\ude00\ud800")", "\"\\\n\u00e9\U0001F600\ufffd"},
      {"{\"a\": 1}", "{\"a\": 1}"},
      {"123456789012345678901", "123456789012345678901"}};
  for (const auto& [json, text] : cases) EXPECT_EQ(text_of(json), text) << json;
}

// Keys stay as they are written, in their order; the adapter's own are taken out.
TEST(AigesValues, ConfigIsFlatTexts) {
  const Config config = read_config(
      R"( {"common.lic": "10", "x{": "a, \"b\"}", "aiges": {"async_mode": true, "debug_info": true},
           "n": 1.0} )");
  EXPECT_TRUE(config.settings.is_async);
  EXPECT_TRUE(config.settings.reads_while_writing);
  EXPECT_TRUE(config.settings.tells_debug_info);
  const TextPairs expected = {{"common.lic", "10"}, {"x{", "a, \"b\"}"}, {"n", "1"}};
  EXPECT_EQ(config.pairs, expected);
  EXPECT_TRUE(read_config("").pairs.empty());
  EXPECT_TRUE(read_config("{}").pairs.empty());
  for (const char* wrong : {"[]", R"({"a": null})", R"({"a": [1]})", R"({"aiges": 3})"})
    EXPECT_THROW(read_config(wrong), std::invalid_argument) << wrong;
}

}  // namespace
}  // namespace loader::host::aiges
