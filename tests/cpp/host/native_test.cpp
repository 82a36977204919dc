// Native wrappers through the runtime: echo, hostile behaviours that a host survives, and refusals.
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "channel/bodies.h"
#include "host/library.h"
#include "host/native_engine.h"
#include "loader_end.h"

namespace loader::host::test {
namespace {

using channel::Operation;
using channel::RecordType;

Setup setup_of(const std::string& library, const std::string& json = "{}", uint32_t threads = 1) {
  Setup setup;
  setup.directory = HOSTILE_DIRECTORY;
  setup.entry = library + ".so";
  setup.json = json;
  setup.threads = threads;
  return setup;
}

std::string hostile(const std::string& behavior, const std::string& entry = "write") {
  return "{\"behavior\": \"" + behavior + "\", \"entry\": \"" + entry + "\"}";
}

class Echo : public testing::TestWithParam<std::tuple<const char*, uint32_t>> {};

// What comes in goes out, small or large, in calls and in sessions.
TEST_P(Echo, GivesBackWhatItGets) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of(std::get<0>(GetParam()), "{}", std::get<1>(GetParam())));
  ASSERT_EQ(loader.start().status, LOADER_OK);
  const Answer ready =
      loader.wait([](const Answer& a) { return a.type == RecordType::kReady; }, "ready");
  EXPECT_TRUE(ready.flags & channel::kIsNonBlocking);
  EXPECT_TRUE(ready.flags & channel::kHasExec);
  EXPECT_TRUE(ready.flags & channel::kHasSessions);
  const std::vector<std::string> sizes = {"",
                                          "x",
                                          std::string(16 * 1024, 'a'),
                                          std::string(16 * 1024 + 1, 'b'),
                                          std::string(1024 * 1024, 'c'),
                                          std::string(12 * 1024 * 1024, 'd')};
  loader.create(1, 256, 64 * 1024);
  for (size_t i = 0; i < sizes.size(); ++i) {
    loader.write(1, {{"one", sizes[i]}, {"two", "second"}});
    const Answer result = loader.wait_result(1);
    loader.grant(1, 1, result.charge);
    ASSERT_EQ(result.items.size(), 2u);
    EXPECT_EQ(result.items[0].key, "one");
    EXPECT_TRUE(result.items[0].data == sizes[i]);
    EXPECT_EQ(result.items[1].data, "second");
    EXPECT_EQ(result.seq, i + 1);
    EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_OK);
    loader.exec(100 + i, {{"one", sizes[i]}});
    EXPECT_TRUE(loader.wait_result(100 + i).items.at(0).data == sizes[i]);
    EXPECT_EQ(loader.wait_for(100 + i, Operation::kExec).status, LOADER_OK);
  }
  loader.end(1);
  EXPECT_EQ(loader.wait_for(1, Operation::kEnd).status, LOADER_OK);
  loader.destroy(1);
  EXPECT_EQ(loader.wait_for(1, Operation::kDestroy).status, LOADER_OK);
  EXPECT_EQ(loader.stop(), 0);
}

INSTANTIATE_TEST_SUITE_P(Wrappers, Echo,
                         testing::Combine(testing::Values("echo_c", "echo_cpp"),
                                          testing::Values(1u, 4u)));

// After each of these the host is as it was: the next session works.
void serves_on(LoaderEnd& loader, uint64_t handle) {
  loader.create(handle);
  EXPECT_EQ(loader.wait_for(handle, Operation::kCreate).status, LOADER_OK);
  loader.write(handle, {{"text", "still here"}});
  EXPECT_EQ(loader.wait_result(handle).items.at(0).data, "still here");
  EXPECT_EQ(loader.wait_for(handle, Operation::kWrite).status, LOADER_OK);
  loader.destroy(handle);
  EXPECT_EQ(loader.wait_for(handle, Operation::kDestroy).status, LOADER_OK);
}

Answer trigger(LoaderEnd& loader, uint64_t handle) {
  loader.create(handle);
  loader.write(handle, {{"trigger", ""}});
  return loader.wait_for(handle, Operation::kWrite);
}

// An exception that leaves a wrapper becomes an error with its text.
TEST(Hostile, AnExceptionDoesNotPass) {
  for (const char* entry : {"write", "create", "end", "destroy", "cancel", "exec"}) {
    NativeEngine engine;
    LoaderEnd loader(engine, setup_of("hostile", hostile("throw", entry)));
    ASSERT_EQ(loader.start().status, LOADER_OK);
    if (std::string(entry) == "write") {
      const Answer answer = trigger(loader, 1);
      EXPECT_EQ(answer.status, LOADER_ERROR_INTERNAL);
      EXPECT_NE(answer.text.find("write threw through the C ABI: thrown by the hostile wrapper"),
                std::string::npos)
          << answer.text;
    } else if (std::string(entry) == "create") {
      loader.create(1);
      EXPECT_EQ(loader.wait_for(1, Operation::kCreate).status, LOADER_ERROR_INTERNAL);
    } else if (std::string(entry) == "exec") {
      loader.exec(1, {{"trigger", ""}});
      EXPECT_EQ(loader.wait_for(1, Operation::kExec).status, LOADER_ERROR_INTERNAL);
    } else {
      loader.create(1);
      loader.end(1);
      const int32_t status = loader.wait_for(1, Operation::kEnd).status;
      EXPECT_EQ(status, std::string(entry) == "end" ? LOADER_ERROR_INTERNAL : LOADER_OK);
      loader.cancel(1);
      loader.destroy(1);
      EXPECT_EQ(loader.wait_for(1, Operation::kDestroy).status, LOADER_OK);
    }
    EXPECT_EQ(loader.stop(), 0);
  }
}

// What the host says of it goes into room of its own, wherever the wrapper pointed before it threw.
TEST(Hostile, AnExceptionBehindAReplacedTextDoesNotPass) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("throw_behind")));
  loader.start();
  const Answer answer = trigger(loader, 1);
  EXPECT_EQ(answer.status, LOADER_ERROR_INTERNAL);
  EXPECT_NE(answer.text.find("thrown by the hostile wrapper"), std::string::npos) << answer.text;
  serves_on(loader, 2);
}

// NOWAIT through the C ABI: what there is credit for, and then AGAIN.
TEST(Hostile, EmitWithoutWaitingSaysAgain) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("nowait")));
  loader.start();
  loader.create(1, 3, 64 * 1024);
  loader.write(1, {{"trigger", ""}});
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, 9);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(loader.wait_result(1).items.at(0).data, "now");
  EXPECT_FALSE(loader.poll([](const Answer& a) { return a.type == RecordType::kResult; }, 0));
  serves_on(loader, 2);
}

// A result of create comes before created; the loader keeps it until the session is open.
TEST(Hostile, CreateMayEmit) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("emit_early", "create")));
  loader.start();
  loader.create(1);
  EXPECT_EQ(loader.wait_result(1).items.at(0).data, "early");
  EXPECT_EQ(loader.wait_for(1, Operation::kCreate).status, LOADER_OK);
}

// A check that never returns is a bad answer after the limit of calls; the other calls go on.
TEST(Hostile, AHealthCheckThatHangsIsABadAnswer) {
  NativeEngine engine;
  auto setup = setup_of("hostile", hostile("rest", "health"), 2);
  setup.call_timeout_ns = 400'000'000;
  LoaderEnd loader(engine, setup);
  loader.start();
  trigger(loader, 1);
  loader.health();
  const Answer answer = loader.wait_for(0, Operation::kHealth);
  EXPECT_EQ(answer.status, LOADER_ERROR_INTERNAL);
  EXPECT_EQ(answer.text, "the health check did not return within 400 ms");
  serves_on(loader, 2);
}

// Traces and meters leave as records of their session.
TEST(Hostile, NotesLeaveWithTheirSession) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("note")));
  loader.start();
  EXPECT_EQ(trigger(loader, 1).status, LOADER_OK);
  const auto note = [&](RecordType type) {
    return loader.wait([type](const Answer& a) { return a.type == type; }, "a note");
  };
  EXPECT_EQ(note(RecordType::kTrace).text, "key value");
  const Answer meter = note(RecordType::kMeter);
  EXPECT_EQ(meter.handle, 1u);
  EXPECT_EQ(meter.text, "words 2.500000");
}

// A library of a later minor: what this version knows of its longer table is all it uses.
TEST(Libraries, ALaterMinorIsLoaded) {
  const Library library = Library::load(std::string(HOSTILE_DIRECTORY) + "/newer.so");
  EXPECT_EQ(library.table().abi_minor, uint32_t{LOADER_ABI_MINOR + 1});
  EXPECT_GT(library.table().struct_size, sizeof(loader_wrapper_t));
  EXPECT_TRUE(library.flags() & channel::kHasSessions);
}

// A library that was built for the first minor runs as it did: the host's table only got longer.
TEST(Libraries, TheFirstMinorIsServed) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("older"));
  ASSERT_EQ(loader.start().status, LOADER_OK);
  EXPECT_EQ(engine.identity().abi_minor, 0u);
  loader.create(1);
  loader.write(1, {{"text", "x"}});
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_OK);
}

// Sizes, strides, handles and texts that are lies are refused, each of them.
TEST(Hostile, LiesAreRefused) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("lie")));
  loader.start();
  EXPECT_EQ(trigger(loader, 1).status, 7);
  serves_on(loader, 2);
}

// Ten threads may emit at once: every result arrives, numbered without a gap.
TEST(Hostile, TenThreadsMayEmit) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("ten_threads"), 2));
  loader.start();
  loader.create(1);
  loader.write(1, {{"trigger", ""}});
  for (uint64_t seq = 1; seq <= 200; ++seq) {
    const Answer result = loader.wait_result(1);
    ASSERT_EQ(result.seq, seq);
    loader.grant(1, 1, result.charge);
  }
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_OK);
  serves_on(loader, 2);
}

// Ten threads may end a session at once, while a call of it runs or create does: one does, after
// the results that it emitted before.
TEST(Hostile, TenThreadsMayFailTheSession) {
  for (const char* entry : {"write", "create"}) {
    NativeEngine engine;
    LoaderEnd loader(engine, setup_of("hostile", hostile("ten_threads_fail", entry), 2));
    loader.start();
    loader.create(1);
    loader.write(1, {{"trigger", ""}});
    int results = 0;
    bool is_created = false;
    const auto next = [&] {
      return loader.wait([](const Answer& a) { return a.handle == 1; }, "any record");
    };
    Answer answer = next();
    for (; answer.type != RecordType::kFailure; answer = next()) {
      results += answer.type == RecordType::kResult ? 1 : 0;
      is_created |= answer.is_completion(Operation::kCreate);
    }
    EXPECT_TRUE(is_created);
    EXPECT_GE(results, 20);
    EXPECT_EQ(answer.status, 100);
    EXPECT_EQ(answer.text, "broken");
    loader.wait([](const Answer& a) { return a.text == "1 failed, 9 were refused"; }, "the log");
    loader.destroy(1);
    EXPECT_EQ(loader.wait_for(1, Operation::kDestroy).status, LOADER_OK);
    EXPECT_FALSE(loader.poll([](const Answer& a) { return a.type == RecordType::kFailure; }, 0));
    EXPECT_EQ(loader.stop(), 0);
  }
}

// A thread that fails its session after destroy is refused.
TEST(Hostile, LateFailuresAreRefused) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("fail_after_destroy", "destroy")));
  loader.start();
  for (uint64_t handle = 1; handle < 40; ++handle) serves_on(loader, handle);
  for (int i = 1; i < 40; ++i) {
    const Answer over =
        loader.wait([](const Answer& a) { return a.type == RecordType::kLog; }, "a thread's end");
    EXPECT_EQ(over.text, "late failures were refused");
  }
  EXPECT_FALSE(loader.poll([](const Answer& a) { return a.type == RecordType::kFailure; }, 0));
}

// A thread that emits and finishes after destroy is refused and disturbs nobody.
TEST(Hostile, LateEmitsAreRefused) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("emit_after_destroy")));
  loader.start();
  EXPECT_EQ(trigger(loader, 1).status, LOADER_OK);
  loader.destroy(1);
  EXPECT_EQ(loader.wait_for(1, Operation::kDestroy).status, LOADER_OK);
  for (uint64_t handle = 2; handle < 40; ++handle) serves_on(loader, handle);
  const Answer over =
      loader.wait([](const Answer& a) { return a.type == RecordType::kLog; }, "the thread's end");
  EXPECT_EQ(over.text, "late emits were refused");
  EXPECT_FALSE(loader.poll(
      [](const Answer& a) { return a.type == RecordType::kResult && a.handle > 1; }, 0));
}

// The second finish of a call is refused, and a status that means nothing is an error.
TEST(Hostile, WrongEndsAreRefused) {
  {
    NativeEngine engine;
    LoaderEnd loader(engine, setup_of("hostile", hostile("finish_twice")));
    loader.start();
    EXPECT_EQ(trigger(loader, 1).status, LOADER_OK);
    EXPECT_EQ(loader.wait_result(1).items.at(0).data, "refused");
    serves_on(loader, 2);
  }
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("strange_status")));
  loader.start();
  const Answer answer = trigger(loader, 1);
  EXPECT_EQ(answer.status, LOADER_ERROR_INTERNAL);
  EXPECT_NE(answer.text.find("-777"), std::string::npos);
  serves_on(loader, 2);
}

// A client that reads nothing stops its own session only, also where the engine has one thread.
TEST(Hostile, ASlowReaderHoldsUpNobodyElse) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("flood")));
  loader.start();
  for (uint64_t handle = 1; handle <= 20; ++handle) {
    loader.create(handle, 1, 1024);
    loader.write(handle, {{"trigger", ""}});
    loader.wait_result(handle);
  }
  serves_on(loader, 100);
  for (uint64_t handle = 1; handle <= 20; ++handle) {
    loader.cancel(handle);
    loader.wait_for(handle, Operation::kWrite);
    loader.destroy(handle);
    loader.wait_for(handle, Operation::kDestroy);
  }
  EXPECT_EQ(loader.stop(), 0);
}

// The arenas are sealed: no file of them shrinks.
TEST(Hostile, ArenasCannotBeTruncated) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("truncate_arena")));
  loader.start();
  loader.create(1);
  loader.write(1, {{"trigger", ""}});
  EXPECT_EQ(loader.wait_result(1).items.at(0).data, "sealed");
}

// An engine's own number and text travel unchanged; an init that fails ends the host with 1.
TEST(Hostile, AFailedInitSaysWhy) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("hostile", hostile("fail", "init")));
  const Answer answer = loader.start();
  EXPECT_EQ(answer.status, 42);
  EXPECT_EQ(answer.text, "as you asked");
  EXPECT_EQ(answer.error_code, 2006);
  EXPECT_EQ(loader.join(), 1);
}

// A library that cannot be loaded is the author's to mend: code 2005 and the whole refusal.
TEST(Hostile, ABadLibraryIsRefusedThroughTheChannel) {
  NativeEngine engine;
  LoaderEnd loader(engine, setup_of("wrong_major"));
  const Answer answer = loader.start();
  EXPECT_EQ(answer.error_code, 2005);
  EXPECT_NE(answer.text.find("wrong_major.so"), std::string::npos);
  EXPECT_EQ(loader.join(), 1);
}

struct Refusal {
  const char* library;
  std::vector<const char*> says;
};

class Refusals : public testing::TestWithParam<Refusal> {};

// Each refusal names the file, what is wrong, and the cure.
TEST_P(Refusals, NameTheFileTheFaultAndTheCure) {
  const std::string file = std::string(HOSTILE_DIRECTORY) + "/" + GetParam().library;
  try {
    Library::load(file);
    FAIL() << file << " was loaded";
  } catch (const BadLibrary& refusal) {
    const std::string text = refusal.what();
    EXPECT_NE(text.find(file), std::string::npos) << text;
    for (const char* part : GetParam().says)
      EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in: " << text;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Libraries, Refusals,
    testing::Values(
        Refusal{"wrong_major.so", {"wrapper ABI 2.1", "this host speaks 1.1", "rebuild it"}},
        Refusal{"missing_entry.so", {"`fini`", "1.1", "Set `fini`"}},
        Refusal{"missing_destroy.so", {"`destroy`", "Set `destroy`"}},
        Refusal{"truncated.so", {"struct_size 48", "at least 112", "sizeof(loader_wrapper_t)"}},
        Refusal{"short_extension.so", {"loader.health/1", "struct_size 8", "knows 16", "sizeof"}},
        Refusal{"not_a_wrapper.so", {"exports no function loader_wrapper", "LOADER_EXPORT"}},
        Refusal{"unresolved.so",
                {"undefined symbol a_function_that_nobody_defines", "Link the library"}},
        Refusal{"null_table.so", {"returned NULL", "static table"}},
        Refusal{"bad_describe.so", {"describe()", "at byte"}},
        Refusal{"mangled.so", {"_Z14loader_wrapperv", "extern \"C\""}},
        Refusal{"missing.so", {"no such file", "`entry`"}},
        Refusal{"../CMakeCache.txt", {"not an ELF library", "kind: python"}}));

}  // namespace
}  // namespace loader::host::test
