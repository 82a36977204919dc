// Which libraries are taken for AIGES ones, and what is said of those that cannot be served.
#include "host/library.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>

#include "host/aiges/tags.h"

namespace loader::host::test {
namespace {

std::string refusal_of(const std::string& library) {
  try {
    Library::load(std::string(AIGES_DIRECTORY) + "/" + library + ".so");
  } catch (const BadLibrary& refusal) {
    return refusal.what();
  }
  return "none";
}

std::string check(const std::string& path) {
  const std::string command = std::string(HOST_PROGRAM) + " --check " + path;
  std::string text;
  std::array<char, 4096> part{};
  FILE* output = ::popen(command.c_str(), "r");
  while (std::fgets(part.data(), part.size(), output) != nullptr) text += part.data();
  ::pclose(output);
  return text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A missing mandatory function is named; so is a mangled one, with what that means.
TEST(AigesLibrary, SaysWhatIsMissing) {
  EXPECT_TRUE(
      contains(refusal_of("without_init"), "without wrapperInit. Export it with C linkage"));
  EXPECT_TRUE(contains(refusal_of("without_error"), "without wrapperError. Export it"));
  EXPECT_TRUE(
      contains(refusal_of("without_mode"), "without a complete mode: none of wrapperExec,"));
  const std::string mangled = refusal_of("only_mangled");
  EXPECT_TRUE(contains(mangled, "without a complete mode")) << mangled;
  EXPECT_TRUE(contains(mangled, "wrapperExec as _Z11wrapperExecPKv")) << mangled;
  EXPECT_TRUE(contains(mangled, "wrapperExecFree as _Z15wrapperExecFreePKv")) << mangled;
  EXPECT_TRUE(contains(mangled, "declare the definition itself extern \"C\"")) << mangled;
}

// A library of neither kind is refused with both.
TEST(AigesLibrary, AnotherLibraryIsToldBothKinds) {
  try {
    Library::load(std::string(HOSTILE_DIRECTORY) + "/not_a_wrapper.so");
    FAIL();
  } catch (const BadLibrary& refusal) {
    EXPECT_TRUE(contains(refusal.what(), "no function loader_wrapper, and none of AIGES's"));
  }
}

// `--check` lists the 15 names; what is optional may be missing or mangled.
TEST(AigesLibrary, CheckListsTheSymbols) {
  const std::string folder = std::string(AIGES_DIRECTORY) + "/";
  const std::string all = check(folder + "scripted.so");
  EXPECT_TRUE(contains(all, "\"ok\": true")) << all;
  EXPECT_TRUE(contains(all, "AIGES symbols: 15 of 15: wrapperInit, wrapperFini")) << all;
  EXPECT_TRUE(contains(all, "loader.resources/1")) << all;
  const std::string echo = check(folder + "libwrapper.so");
  EXPECT_TRUE(contains(echo, "not exported: wrapperLoadRes, wrapperUnloadRes")) << echo;
  EXPECT_FALSE(contains(echo, "loader.resources/1")) << echo;
  const std::string mangled = check(folder + "mangled.so");
  EXPECT_TRUE(contains(mangled, "\"ok\": true")) << mangled;
  EXPECT_TRUE(contains(mangled, "\"wrapperExec\": \"_Z11wrapperExecPKv")) << mangled;
  EXPECT_TRUE(contains(mangled, "exported under a C++ name only: wrapperExec as")) << mangled;
}

class Silent final : public aiges::Listener {
 public:
  using Listener::Listener;
  int on_results(aiges::DataList*, int) noexcept override { return 0; }
};

// A tag is known by its text while it is open; its memory outlives it by as many as are kept.
TEST(AigesTags, AreKnownByTextAndOutliveTheirSession) {
  const loader_host_t host{};
  const auto instance =
      std::make_shared<aiges::Instance>(aiges::Functions{}, host, aiges::Settings{});
  aiges::Tags tags(2);
  const char* first = tags.add(std::make_shared<Silent>(instance, 1));
  const std::string copy = first;
  EXPECT_EQ(copy.size(), 26u);
  EXPECT_EQ(tags.find(copy.c_str())->handle(), 1u);
  EXPECT_FALSE(tags.find(nullptr));
  EXPECT_FALSE(tags.find(""));
  EXPECT_FALSE(tags.find((copy + "x").c_str()));
  tags.remove(first);
  EXPECT_FALSE(tags.find(first));  // the memory is still there
  const char* second = tags.add(std::make_shared<Silent>(instance, 2));
  EXPECT_NE(copy, second);
  tags.remove(second);
  EXPECT_EQ(copy, first);
  tags.add(std::make_shared<Silent>(instance, 3));
  tags.remove_all(*instance);
  EXPECT_FALSE(tags.find(second));
  instance->wait_until_left();
}

}  // namespace
}  // namespace loader::host::test
