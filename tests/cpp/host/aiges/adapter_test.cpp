// AIGES libraries through the whole host: what they are called with, and what becomes of what they
// return, call back and do wrong. scripted.cpp says what each `do` means.
#include <gtest/gtest.h>

#include "channel/bodies.h"
#include "host/native_engine.h"
#include "host/outcome.h"
#include "loader/errors.h"
#include "loader_end.h"

namespace loader::host::test {
namespace {

using channel::Operation;
using channel::RecordType;

constexpr uint32_t kText = LOADER_ITEM_TEXT;
constexpr uint32_t kAudio = LOADER_ITEM_AUDIO;

Setup setup_of(const std::string& library, const std::string& json, uint32_t threads) {
  Setup setup;
  setup.directory = AIGES_DIRECTORY;
  setup.entry = library + ".so";
  setup.json = json;
  setup.threads = threads;
  setup.parameters.clear();
  return setup;
}

const char* const kAsync = R"({"aiges": {"async_mode": true}})";

// A library in a host, and a loader at the other end.
class Served {
 public:
  explicit Served(const std::string& json = "{}", const std::string& library = "scripted",
                  uint32_t threads = 4)
      : loader(engine, setup_of(library, json, threads)) {
    const Answer started = loader.start();
    EXPECT_EQ(started.status, LOADER_OK) << started.text;
  }

  // One exec that does `what`; its results are kept.
  Answer exec(const std::string& what, const std::vector<Item>& items = {{"in", "data", kText}}) {
    loader.set_parameters({{"do", "\"" + what + "\""}});
    return exec(items);
  }
  Answer exec(const std::vector<Item>& items) {
    loader.exec(++handle, items);
    return loader.wait_for(handle, Operation::kExec);
  }
  Answer result() { return loader.wait_result(handle); }
  bool has_result() {
    return loader
        .poll([&](const Answer& a) { return a.handle == handle && a.type == RecordType::kResult; },
              0)
        .has_value();
  }
  std::string report(const std::string& what) {
    EXPECT_EQ(exec(what).status, LOADER_OK);
    return result().items.at(0).data;
  }

  void open(const std::string& what, uint32_t records = 256) {
    loader.set_parameters({{"do", "\"" + what + "\""}});
    loader.create(++handle, records);
    const Answer answer = loader.wait_for(handle, Operation::kCreate);
    EXPECT_EQ(answer.status, LOADER_OK) << answer.text;
  }
  void send(const std::string& data, uint32_t status = 0) {
    loader.write(handle, {{"in", data, kAudio, status, {}}});
  }
  Answer written() { return loader.wait_for(handle, Operation::kWrite); }
  Answer ended() {
    loader.end(handle);
    return loader.wait_for(handle, Operation::kEnd);
  }
  void close() {
    loader.destroy(handle);
    EXPECT_EQ(loader.wait_for(handle, Operation::kDestroy).status, LOADER_OK);
  }

  NativeEngine engine;
  LoaderEnd loader;
  uint64_t handle = 0;
};

std::string seen(const Answer& result, size_t i = 0) {
  for (const auto& [key, value] : result.items.at(i).attributes)
    if (key == "seen") return value;
  return "nothing";
}

// ---- one-shot calls

// Types, statuses and descriptions pass both ways; an item without status is done ONCE.
TEST(AigesExec, ItemsAreNodesAndBack) {
  Served served;
  const std::vector<Item> items = {
      {"t", "text", LOADER_ITEM_TEXT, LOADER_STATUS_BEGIN, {{"encoding", "utf8"}}},
      {"a", "audio", LOADER_ITEM_AUDIO, LOADER_STATUS_CONTINUE, {}},
      {"i", "image", LOADER_ITEM_IMAGE, LOADER_STATUS_END, {}},
      {"v", "", LOADER_ITEM_VIDEO, LOADER_STATUS_ONCE, {}},
      {"b", "bytes", LOADER_ITEM_BYTES, 0, {}},
      {"b", "{}", LOADER_ITEM_JSON, 0, {}}};
  ASSERT_EQ(served.exec("echo", items).status, LOADER_OK);
  const Answer result = served.result();
  ASSERT_EQ(result.items.size(), 6u);
  const char* const expected[] = {
      "type 0 status 0 desc encoding=utf8;", "type 1 status 1 desc NULL",
      "type 2 status 2 desc NULL",           "type 3 status 3 desc NULL",
      "type 4 status 3 desc NULL",           "type 0 status 3 desc NULL"};
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(result.items[i].key, items[i].key);
    EXPECT_EQ(result.items[i].data, items[i].data);
    EXPECT_EQ(seen(result, i), expected[i]);
    EXPECT_EQ(result.items[i].status, items[i].status == 0 ? 4 : items[i].status);
    EXPECT_EQ(result.items[i].type, items[i].type == LOADER_ITEM_JSON ? kText : items[i].type);
  }
}

// What the library may scribble on is its own copy.
TEST(AigesExec, InputMayBeChangedInPlace) {
  Served served;
  const std::string large(3 * 1024 * 1024, 'y');
  EXPECT_EQ(served.exec("scribble", {{"in", large}}).status, LOADER_OK);
  EXPECT_TRUE(served.result().items.at(0).data == large);
}

// Libraries do not expect an empty list: a call without items is refused, such a frame is nothing.
TEST(AigesExec, AnEmptyListNeverReachesTheLibrary) {
  Served served;
  const Answer answer = served.exec("echo", {});
  EXPECT_EQ(answer.status, LOADER_ERROR_INVALID_INPUT);
  EXPECT_EQ(answer.text, "the request has no item: an AIGES library needs at least one");
  served.open("write_fails");
  served.loader.write(served.handle, {});
  EXPECT_EQ(served.written().status, LOADER_OK);
  EXPECT_EQ(served.ended().status, LOADER_OK);
  served.close();
}

// Parameters are text, and `sid` is always among them.
TEST(AigesExec, ParametersAreText) {
  Served served;
  served.loader.set_parameters({{"do", R"("params")"},
                                {"rate", "16000"},
                                {"gain", "0.50"},
                                {"on", "true"},
                                {"text", R"("a \"b\" \u4f60")"},
                                {"none", "null"},
                                {"list", "[1, 2]"}});
  ASSERT_EQ(served.exec({{"in", ""}}).status, LOADER_OK);
  EXPECT_EQ(served.result().items.at(0).data,
            "do=params;rate=16000;gain=0.5;on=true;text=a \"b\" 你;none=;list=[1, 2];sid=;");
  served.loader.set_parameters({{"sid", R"("s1")"}, {"do", R"("params")"}});
  ASSERT_EQ(served.exec({{"in", ""}}).status, LOADER_OK);
  EXPECT_EQ(served.result().items.at(0).data, "sid=s1;do=params;");
}

// Control functions come before init, type 1 never; config is text, and NULL where there is none.
TEST(AigesExec, InitGetsTextsAfterTheControlFunctions) {
  {
    Served served(R"({"a.b": "x", "n": 10, "f": 1.50, "e": 1e3, "ok": true, "aiges": {}})");
    EXPECT_EQ(served.report("order"), "ctrl0;ctrl2;init;");
    EXPECT_EQ(served.report("config"), "a.b=x;n=10;f=1.5;e=1000;ok=true;");
    EXPECT_EQ(served.loader.stop(), 0);
  }
  Served served;
  EXPECT_EQ(served.report("config"), "NULL");
}

// The outer code, the library's text and its number; ExecFree only after success, with the first
// head and a live tag.
TEST(AigesExec, ErrorsAreExplainedAndFreeOnlySuccess) {
  Served served;
  Answer answer = served.exec("fail");
  EXPECT_EQ(answer.status, 10909);
  EXPECT_EQ(answer.text, "text of 21111;code=21111");
  EXPECT_EQ(served.exec("fail_without_text").text, ";code=404");
  answer = served.exec("throw");
  EXPECT_EQ(answer.status, 10909);
  EXPECT_EQ(answer.text, "thrown by wrapperExec;code=-1");
  answer = served.exec("wrong_len");
  EXPECT_EQ(answer.status, 10909);
  EXPECT_EQ(answer.text, "the result `in` says len 5 but its data is NULL;code=-1");
  EXPECT_EQ(served.exec("empty").status, LOADER_OK);
  EXPECT_FALSE(served.has_result());
  // wrong_len and empty were successes of the library's.
  EXPECT_EQ(served.report("counters"), "created 0 destroyed 0 executed 3 freed 2 wrong 0 last 99");
}

// Lists as libraries make them: keys twice, a status that is none, text that is not UTF-8.
TEST(AigesExec, OddResultsArrive) {
  Served served;
  ASSERT_EQ(served.exec("twice").status, LOADER_OK);
  Answer result = served.result();
  ASSERT_EQ(result.items.size(), 2u);
  EXPECT_EQ(result.items[0].key, result.items[1].key);
  ASSERT_EQ(served.exec("bad_status").status, LOADER_OK);
  EXPECT_EQ(served.result().items.at(0).status, uint32_t{LOADER_STATUS_ONCE});
  ASSERT_EQ(served.exec("not_utf8").status, LOADER_OK);
  result = served.result();
  EXPECT_EQ(result.items.at(0).data.substr(0, 2), "\xc4\xe3");
  EXPECT_EQ(result.items.at(0).attributes.at(0),
            (std::pair<std::string, std::string>("text", "??")));
  ASSERT_EQ(served.exec("empty_desc").status, LOADER_OK);
  EXPECT_EQ(served.result().items.at(0).attributes.at(0).second, "");
}

// Metering and traces reach the host, and only for a tag that is open.
TEST(AigesExec, ControlFunctionsWork) {
  Served served;
  ASSERT_EQ(served.exec("meter").status, LOADER_OK);
  EXPECT_EQ(served.result().items.at(0).attributes.at(0).second, "0 0 20002");
  const auto of = [&](RecordType type) {
    return [&served, type](const Answer& a) { return a.type == type && a.handle == served.handle; };
  };
  EXPECT_EQ(served.loader.wait(of(RecordType::kMeter), "meter").text, "chars 5.000000");
  EXPECT_EQ(served.loader.wait(of(RecordType::kTrace), "trace").text, "step done");
}

// The first callback ends the call, from any thread, inside ExecAsync too; the next is refused.
TEST(AigesExec, TheFirstCallbackEndsAnAsynchronousCall) {
  Served served(kAsync);
  for (const char* what : {"thread", "inside", "twice"}) {
    ASSERT_EQ(served.exec(what).status, LOADER_OK) << what;
    EXPECT_EQ(served.result().items.at(0).data, "data");
  }
  EXPECT_FALSE(served.has_result());
  EXPECT_EQ(served.exec("fail").text, "text of 21111;code=21111");
  const Answer answer = served.exec("error");
  EXPECT_EQ(answer.status, 10910);
  EXPECT_EQ(answer.text, "text of 33;code=33");
  EXPECT_EQ(served.report("counters"), "created 0 destroyed 0 executed 0 freed 0 wrong 0 last -1");
}

// A library with one way is called that way, whatever the configuration says.
TEST(AigesExec, TheOtherModeIsTakenWhereOneIsMissing) {
  Served asynchronous("{}", "only_async");
  EXPECT_EQ(asynchronous.exec("thread").status, LOADER_OK);
  Served synchronous(kAsync, "only_exec");
  EXPECT_EQ(synchronous.exec("echo").status, LOADER_OK);
  synchronous.loader.create(7);
  const Answer refused = synchronous.loader.wait_for(7, Operation::kCreate);
  EXPECT_EQ(refused.status, LOADER_ERROR_UNSUPPORTED);
}

// ---- sessions that are read

// One read after each write, and a read until END after the last.
TEST(AigesStream, ResultsAreReadWhileWriting) {
  Served served;
  served.open("echo");
  served.send("one", LOADER_STATUS_BEGIN);
  EXPECT_EQ(served.result().items.at(0).data, "one");
  EXPECT_EQ(served.written().status, LOADER_OK);
  served.send("two", LOADER_STATUS_END);
  const Answer last = served.result();
  EXPECT_EQ(seen(last), "type 1 status 2 desc NULL");
  EXPECT_EQ(last.items.at(0).status, uint32_t{LOADER_STATUS_END});
  EXPECT_EQ(served.written().status, LOADER_OK);
  EXPECT_EQ(served.ended().status, LOADER_OK);
  served.close();
}

// A client that says no status: BEGIN, CONTINUE, and an empty node with END at its end.
TEST(AigesStream, StatusesFollowFromTheSession) {
  Served served;
  served.open("echo");
  const char* const expected[] = {"type 1 status 0 desc NULL", "type 1 status 1 desc NULL"};
  for (const char* status : expected) {
    served.send("data");
    EXPECT_EQ(seen(served.result()), status);
    EXPECT_EQ(served.written().status, LOADER_OK);
  }
  EXPECT_EQ(served.ended().status, LOADER_OK);
  const Answer last = served.result();
  EXPECT_EQ(seen(last), "type 1 status 2 desc NULL");
  EXPECT_EQ(last.items.at(0).data, "");
  served.close();
  served.open("echo");
  EXPECT_EQ(served.ended().status, LOADER_OK);  // no input, nothing to wait for
  served.close();
}

// Where results are wanted after the last input only, nothing is read before.
TEST(AigesStream, NothingIsReadBeforeTheLastInput) {
  Served served(R"({"aiges": {"real_time_result": false}})");
  for (const char* what : {"echo", "slow"}) {
    served.open(what);
    served.send("one", LOADER_STATUS_BEGIN);
    EXPECT_EQ(served.written().status, LOADER_OK);
    EXPECT_FALSE(served.has_result());
    served.send("two", LOADER_STATUS_END);
    EXPECT_EQ(served.result().items.at(0).data, "one");
    EXPECT_EQ(served.result().items.at(0).data, "two");
    EXPECT_EQ(served.written().status, LOADER_OK);
    served.close();
  }
}

// A library that never ends its results is given up after five seconds without any.
TEST(AigesStream, ASilentLibraryIsGivenUp) {
  Served served;
  served.open("silent");
  served.send("one", LOADER_STATUS_END);
  EXPECT_EQ(served.written().status, LOADER_OK);
  EXPECT_EQ(served.ended().status, LOADER_OK);
  served.close();
}

// Whoever goes does not wait for that.
TEST(AigesStream, ACancelledSessionStopsReading) {
  Served served;
  served.open("silent");
  served.send("one", LOADER_STATUS_END);
  served.loader.cancel(served.handle);
  EXPECT_EQ(served.written().status, LOADER_ERROR_CLOSED);
  served.close();
}

// Each function's failure has its code.
TEST(AigesStream, ErrorsHaveTheCodeOfTheirFunction) {
  Served served;
  const auto refused = [&](const char* what) {
    served.loader.set_parameters({{"do", "\"" + std::string(what) + "\""}});
    served.loader.create(++served.handle);
    const Answer answer = served.loader.wait_for(served.handle, Operation::kCreate);
    EXPECT_EQ(answer.status, 10905);
    return answer.text;
  };
  EXPECT_EQ(refused("create_fails"), "text of 44;code=44");
  EXPECT_EQ(refused("create_null"), "wrapperCreate returned no handle;code=0");
  const std::tuple<const char*, int, const char*> cases[] = {
      {"write_fails", 10907, "text of 55;code=55"},
      {"write_throws", 10907, "thrown by wrapperWrite;code=-1"},
      {"read_fails", 10908, "text of 66;code=66"}};
  for (const auto& [what, code, text] : cases) {
    served.open(what);
    served.send("one");
    const Answer answer = served.written();
    EXPECT_EQ(answer.status, code);
    EXPECT_EQ(answer.text, text);
    served.close();
  }
  EXPECT_EQ(served.report("counters"), "created 3 destroyed 3 executed 1 freed 0 wrong 0 last 99");
}

// ---- sessions that call back

class AigesCallbacks : public testing::TestWithParam<const char*> {};

// Results leave when they are called back: before the next write, from any thread; END is the end.
TEST_P(AigesCallbacks, ResultsLeaveAtOnce) {
  Served served(kAsync);
  served.open(GetParam());
  if (std::string(GetParam()) == "early") {
    EXPECT_EQ(served.result().items.at(0).data, "early");  // before Create had returned
  }
  for (const char* data : {"one", "two"}) {
    served.send(data);
    EXPECT_EQ(served.result().items.at(0).data, data);
    EXPECT_EQ(served.written().status, LOADER_OK);
  }
  EXPECT_EQ(served.ended().status, LOADER_OK);
  EXPECT_EQ(served.result().items.at(0).status, uint32_t{LOADER_STATUS_END});
  served.close();
}

INSTANTIATE_TEST_SUITE_P(From, AigesCallbacks, testing::Values("thread", "inside", "early"));

// A library without wrapperRead can only call back.
TEST(AigesCallback, IsTheWayWithoutRead) {
  Served served("{}", "without_read");
  served.open("thread");
  served.send("one", LOADER_STATUS_ONCE);
  EXPECT_EQ(served.result().items.at(0).data, "one");
  EXPECT_EQ(served.written().status, LOADER_OK);
}

// The last write waits for the last result; the session ends with it, once.
TEST(AigesCallback, ASecondEndIsRefused) {
  Served served(kAsync);
  served.open("end_twice");
  served.send("one", LOADER_STATUS_END);
  EXPECT_EQ(served.result().items.at(0).data, "one");
  EXPECT_EQ(served.written().status, LOADER_OK);
  EXPECT_EQ(served.ended().status, LOADER_OK);
  EXPECT_FALSE(served.has_result());
  served.close();
  EXPECT_NE(served.report("counters").find("last -1"), std::string::npos);
}

// Input after the library's END is taken and ignored.
TEST(AigesCallback, InputAfterTheEndIsIgnored) {
  Served served(kAsync);
  served.open("end_at_once");
  for (int i = 0; i < 3; ++i) {
    served.send("more");
    EXPECT_EQ(served.written().status, LOADER_OK);
  }
  EXPECT_EQ(served.result().items.at(0).data, "over");
  EXPECT_EQ(served.ended().status, LOADER_OK);
  EXPECT_FALSE(served.has_result());
  served.close();
}

// An error that is called back ends the session with its code and text, whatever input comes with
// it and after it.
TEST(AigesCallback, AnErrorEndsTheSession) {
  Served served(kAsync);
  for (const uint32_t status : {LOADER_STATUS_CONTINUE, LOADER_STATUS_END}) {
    served.open("error");
    served.send("one", status);
    const Answer failure = served.loader.wait_failure(served.handle);
    EXPECT_EQ(failure.status, 10910);
    EXPECT_EQ(failure.text, "text of 33;code=33");
    served.send("two");
    served.loader.end(served.handle);
    served.close();
    EXPECT_NE(served.loader.wait_for(served.handle, Operation::kEnd).status, LOADER_OK);
  }
}

// One that comes from a thread is told when it comes, behind the results before it, also where the
// client reads slowly; likewise while the last input waits for the library.
TEST(AigesCallback, AnErrorIsToldWhenItComes) {
  Served served(kAsync);
  for (const uint32_t status : {LOADER_STATUS_CONTINUE, LOADER_STATUS_END}) {
    for (const uint32_t credit : {256u, 1u}) {
      served.open("late_error", credit);
      served.send("one", status);
      const auto fails = [&](const Answer& a) {
        return a.handle == served.handle && a.type == RecordType::kFailure;
      };
      const Answer first = served.result();
      EXPECT_EQ(first.items.at(0).data, "before");
      if (credit == 1) {
        EXPECT_FALSE(served.loader.poll(fails, 20)) << "before the result that has no credit";
        served.loader.grant(served.handle, 1, first.charge);
      }
      const Answer failure = served.loader.wait_failure(served.handle);
      EXPECT_EQ(failure.status, 10910);
      EXPECT_EQ(failure.text, "text of 33;code=33");
      EXPECT_EQ(served.result().items.at(0).data, "before");
      served.close();
    }
  }
  EXPECT_EQ(served.report("counters"), "created 4 destroyed 4 executed 0 freed 0 wrong 0 last -1");
}

// The tag's text can be read after Destroy, and no session is found by it.
TEST(AigesCallback, ALateOneIsRefused) {
  Served served(kAsync);
  served.open("late");
  served.close();
  EXPECT_NE(served.report("wait_late").find("destroyed 1"), std::string::npos);
  EXPECT_NE(served.report("counters").find("last -1"), std::string::npos);
}

// Where the configuration wants results after the last input only, they wait for it.
TEST(AigesCallback, ResultsAreHeldUntilTheLastInput) {
  Served served(R"({"aiges": {"async_mode": true, "real_time_result": false}})");
  served.open("inside");
  served.send("one", LOADER_STATUS_BEGIN);
  EXPECT_EQ(served.written().status, LOADER_OK);
  EXPECT_FALSE(served.has_result());
  served.send("two", LOADER_STATUS_END);
  EXPECT_EQ(served.written().status, LOADER_OK);
  EXPECT_EQ(served.result().items.at(0).data, "one");
  EXPECT_EQ(served.result().items.at(0).data, "two");
  served.close();
}

// By what they take, however few they are; that it was too much, and what to do, is said.
TEST(AigesCallback, WhatIsHeldIsBounded) {
  Served served(R"({"aiges": {"async_mode": true, "real_time_result": false}})");
  served.open("inside");
  const std::string large(4 << 20, '.');
  for (int i = 0; i < 7; ++i) {
    served.send(large, LOADER_STATUS_CONTINUE);
    ASSERT_EQ(served.written().status, LOADER_OK);
  }
  EXPECT_FALSE(served.has_result());
  served.send(large, LOADER_STATUS_CONTINUE);
  const Answer failure = served.loader.wait_failure(served.handle);
  EXPECT_EQ(failure.status, 10910);
  EXPECT_NE(failure.text.find("32 MiB of results before the last input"), std::string::npos);
  EXPECT_NE(failure.text.find(";code=-1"), std::string::npos);
  served.close();
}

// A client that does not read: what it does not take waits, the library's thread goes on, and
// everything arrives in order before the call ends.
class AigesSlowClient : public testing::TestWithParam<uint32_t> {};

TEST_P(AigesSlowClient, GetsEverything) {
  Served served(kAsync, "scripted", GetParam());
  for (const char* what : {"flood", "flood_inside"}) {
    served.open(what, 4);
    served.send("go", LOADER_STATUS_END);
    for (int i = 0; i < 400; ++i) {
      const Answer result = served.result();
      ASSERT_EQ(result.items.at(0).data.substr(0, 4), (std::to_string(i) + "....").substr(0, 4));
      served.loader.grant(served.handle, 1, result.charge);
    }
    EXPECT_EQ(served.written().status, LOADER_OK);
    served.close();
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, AigesSlowClient, testing::Values(1u, 4u));

// One thread of the library's calls back for all: a client that does not read holds up itself only.
TEST(AigesCallback, ASlowClientHoldsUpNobodyElse) {
  Served served(kAsync);
  served.open("shared", 1);
  served.send("one");
  EXPECT_EQ(served.written().status, LOADER_OK);
  Answer last = served.result();  // the only one that it has room for
  const uint64_t slow = served.handle;
  served.open("shared");
  served.send("one");
  for (int i = 0; i < 20; ++i) EXPECT_EQ(served.result().items.at(0).data, std::to_string(i));
  served.handle = slow;
  for (int i = 1; i < 20; ++i) {
    served.loader.grant(slow, 1, last.charge);
    last = served.result();
    EXPECT_EQ(last.items.at(0).data, std::to_string(i));
  }
}

// A session that goes while its library floods: the library's thread is let go.
TEST(AigesCallback, AFloodEndsWithItsSession) {
  Served served(kAsync);
  for (const char* what : {"flood", "flood_inside"}) {
    served.open(what, 2);
    served.send("go", LOADER_STATUS_END);
    served.result();
    served.close();  // Destroy joins the flooding thread
  }
  EXPECT_NE(served.report("counters").find("destroyed 2"), std::string::npos);
}

// A session that is destroyed while its end waits is answered, and the host stops.
TEST(AigesCallback, DestroyEndsAWait) {
  Served served(kAsync);
  served.open("silent");
  served.send("one", LOADER_STATUS_END);
  served.loader.cancel(served.handle);
  served.loader.destroy(served.handle);
  EXPECT_EQ(served.loader.wait_for(served.handle, Operation::kDestroy).status, LOADER_OK);
  EXPECT_EQ(served.loader.stop(), 0);
}

// ---- the instance

// Init's failure is the instance's, with the library's text; so is a mistake in `config`.
TEST(AigesInstance, AFailedInitIsToldWithItsReason) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"fail_init": 7})", "text of 7;code=7"},
      {R"({"fail_init": "throw"})", "thrown by wrapperInit;code=-1"},
      {R"({"a": {"b": 1}})", "config.a is {\"b\": 1}: an AIGES library takes texts"},
      {R"({"aiges": {"asyncMode": true}})",
       "config.aiges.asyncMode is unknown: known are async_mode"},
      {R"({"aiges": {"async_mode": "yes"}})", "config.aiges.async_mode is \"yes\": write true or"}};
  for (const auto& [json, text] : cases) {
    NativeEngine engine;
    LoaderEnd loader(engine, setup_of("scripted", json, 1));
    const Answer answer = loader.start();
    EXPECT_NE(answer.status, LOADER_OK);
    EXPECT_EQ(answer.text.find(text), 0u) << answer.text;
  }
}

// The version is the library's own, and debug information is logged where it is asked for.
TEST(AigesInstance, SaysItsVersionAndDebugInformation) {
  Served served(R"({"aiges": {"debug_info": true}})");
  const Answer ready =
      served.loader.wait([](const Answer& a) { return a.type == RecordType::kReady; }, "ready");
  EXPECT_EQ(ready.version, "9.8.7");
  served.open("echo");
  served.send("one");
  served.written();
  served.close();
  served.loader.wait([](const Answer& a) { return a.text == "debug: 1 writes"; }, "the log line");
}

// A personal resource is loaded, named by a call, and unloaded.
TEST(AigesInstance, ResourcesAreNamedByTheirNumbers) {
  Served served;
  EXPECT_EQ(served.report("ids"), "NULL");
  served.loader.load_resource(1, 3, {{"words", "hello", 0, 0, {{"patch_id", "p1"}}}});
  EXPECT_EQ(served.loader.wait_for(1, Operation::kLoadResource).status, LOADER_OK);
  const auto with_ids = [&](const char* ids) {
    served.loader.set_parameters({{"do", "\"ids\""}, {"resource_ids", ids}});
    return served.exec({{"in", ""}});
  };
  for (const char* ids : {"[3]", "3", "\"3\""}) {
    EXPECT_EQ(with_ids(ids).status, LOADER_OK);
    EXPECT_EQ(served.result().items.at(0).data, "3=words:hello:patch_id=p1;");
  }
  EXPECT_EQ(with_ids("[4]").error_code, static_cast<uint16_t>(ErrorCode::UNKNOWN_RESOURCE));
  EXPECT_EQ(with_ids("\"x\"").status, LOADER_ERROR_INVALID_INPUT);
  served.loader.load_resource(2, 4, {{"empty", ""}});
  const Answer refused = served.loader.wait_for(2, Operation::kLoadResource);
  EXPECT_EQ(refused.status, 10903);
  EXPECT_NE(refused.text.find(";code="), std::string::npos) << refused.text;
  served.loader.unload_resource(3, 3);
  EXPECT_EQ(served.loader.wait_for(3, Operation::kUnloadResource).status, LOADER_OK);
  EXPECT_EQ(with_ids("[3]").error_code, static_cast<uint16_t>(ErrorCode::UNKNOWN_RESOURCE));
}

}  // namespace
}  // namespace loader::host::test
