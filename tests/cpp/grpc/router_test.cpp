// Paths are matched byte for byte; a router that could not serve is refused when built.
#include "grpc/router.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "grpc/health.h"
#include "grpc/reflection.h"

namespace loader::grpc {
namespace {

TEST(RouterTest, PathsMatchByteForByte) {
  Router r;
  r.add_unary("/a.B/C", [](Call&, Message&) {});
  EXPECT_NE(r.find("/a.B/C"), nullptr);
  for (auto miss : {"/a.B/c", "/a.B/C/", "a.B/C", "/a.B/C?x", "/a.B/%43", ""})
    EXPECT_EQ(r.find(miss), nullptr) << miss;
  EXPECT_TRUE(r.has_service("a.B"));
  EXPECT_FALSE(r.has_service("a"));
}

TEST(RouterTest, MalformedAndRepeatedPathsAreRefused) {
  Router r;
  auto nothing = [](Call&, Message&) {};
  for (auto bad : {"", "/", "/a", "/a/", "//b", "a/b", "/a/b/c"})
    EXPECT_THROW(r.add_unary(bad, nothing), std::invalid_argument) << bad;
  r.add_unary("/a/b", nothing);
  EXPECT_THROW(r.add_unary("/a/b", nothing), std::invalid_argument);
  EXPECT_THROW(r.add("/a/c", Method{}), std::invalid_argument);
}

TEST(ReflectionTest, BytesThatAreNoDescriptorsAreRefused) {
  Router r;
  EXPECT_THROW(add_reflection(r, {"\xff\xff garbage"}), std::invalid_argument);
}

TEST(ReflectionTest, AMissingImportIsRefused) {
  // FileDescriptorSet{file{name: "a.proto", dependency: "b.proto"}}
  Router r;
  std::string file =
      "\x0a\x07"
      "a.proto"
      "\x1a\x07"
      "b.proto";
  std::string set = std::string("\x0a") + static_cast<char>(file.size()) + file;
  EXPECT_THROW(add_reflection(r, {set}), std::invalid_argument);
}

TEST(HealthTest, AddsItsThreeMethods) {
  Router r;
  Health health;
  health.add_to(r);
  for (auto path : {"Check", "Watch", "List"})
    EXPECT_NE(r.find("/grpc.health.v1.Health/" + std::string(path)), nullptr);
}

}  // namespace
}  // namespace loader::grpc
