// Personal resources in a host: loaded and unloaded as calls on the instance, named by sessions and
// calls, and never unloaded under one of them.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <thread>

#include "host/resource_table.h"
#include "loader/errors.h"
#include "loader_end.h"
#include "script_engine.h"

namespace loader::host::test {
namespace {

using channel::Operation;
using channel::RecordType;

constexpr auto kUnknown = static_cast<uint16_t>(ErrorCode::UNKNOWN_RESOURCE);

struct Taking : ScriptEngine {
  Taking() { flags = channel::kHasResources; }
  // Its place among the calls; -1: it was not called.
  int place_of(const std::string& name) {
    const auto seen = calls();
    for (size_t i = 0; i < seen.size(); ++i)
      if (seen[i].first == name) return static_cast<int>(i);
    return -1;
  }
};

Answer load(LoaderEnd& loader, uint32_t id, const std::string& data = "data") {
  loader.load_resource(100 + id, id, {{"words", data}});
  return loader.wait_for(100 + id, Operation::kLoadResource);
}

Answer open(LoaderEnd& loader, uint64_t handle, const std::string& ids) {
  loader.set_parameters({{"resource_ids", ids}});
  loader.create(handle);
  return loader.wait_for(handle, Operation::kCreate);
}

bool is_unloaded(LoaderEnd& loader, uint64_t call, int ms) {
  return loader
      .poll(
          [&](const Answer& a) {
            return a.handle == call && a.is_completion(Operation::kUnloadResource);
          },
          ms)
      .has_value();
}

// The engine gets key, data and attributes, small ones in the record and large ones in the arena.
TEST(HostResources, AResourceReachesTheEngineWhole) {
  Taking engine;
  std::string seen;
  engine.on_load_resource = [&](uint32_t id, const loader_item_t& item, loader_error_t&) {
    seen = std::to_string(id) + std::string(item.key.data, item.key.size) +
           std::string(item.attributes[0].value.data, item.attributes[0].value.size) +
           std::to_string(item.data.size) + static_cast<char>(item.data.data[item.data.size - 1]);
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {.threads = 2});
  loader.start();
  for (const size_t size : {size_t{3}, size_t{300'000}, size_t{20'000'000}}) {
    loader.load_resource(size, 7, {{"k", std::string(size, 'z'), 0, 0, {{"patch_id", "p"}}}});
    EXPECT_EQ(loader.wait_for(size, Operation::kLoadResource).status, LOADER_OK);
    EXPECT_EQ(seen, "7kp" + std::to_string(size) + "z");
  }
  EXPECT_EQ(loader.stop(), 0);
}

// A session or call that names what is not loaded is refused before the engine sees it.
TEST(HostResources, AnUnknownNumberIsRefused) {
  Taking engine;
  LoaderEnd loader(engine, {});
  loader.start();
  EXPECT_EQ(load(loader, 7).status, LOADER_OK);
  EXPECT_EQ(open(loader, 1, "[7]").status, LOADER_OK);
  const Answer refused = open(loader, 2, "[7, 8]");
  EXPECT_EQ(refused.status, LOADER_ERROR_INVALID_INPUT);
  EXPECT_EQ(refused.error_code, kUnknown);
  EXPECT_NE(refused.text.find("resource 8 is not loaded"), std::string::npos) << refused.text;
  loader.exec(3, {});
  EXPECT_EQ(loader.wait_for(3, Operation::kExec).error_code, kUnknown);
  const Answer malformed = open(loader, 4, "\"x\"");
  EXPECT_EQ(malformed.status, LOADER_ERROR_INVALID_INPUT);
  EXPECT_EQ(malformed.error_code, 0);
  EXPECT_EQ(engine.count("create"), 1);
  EXPECT_EQ(engine.count("exec"), 0);
}

// The refused create above used nothing: a resource leaves when its last session and call have.
TEST(HostResources, AnUnloadWaitsForThoseWhoUseIt) {
  Taking engine;
  std::latch entered(1);
  std::latch gate(1);
  engine.on_exec = [&](loader_handle_t, loader_frame_t&) {
    entered.count_down();
    gate.wait();
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {.threads = 3});
  loader.start();
  load(loader, 7);
  open(loader, 1, "7");
  EXPECT_EQ(open(loader, 2, "[7, 9]").error_code, kUnknown);
  loader.set_parameters({{"resource_ids", "\"7\""}});
  loader.exec(3, {});
  entered.wait();
  loader.unload_resource(50, 7);
  EXPECT_EQ(open(loader, 4, "[7]").error_code, kUnknown);  // at once
  loader.destroy(1);
  loader.wait_for(1, Operation::kDestroy);
  EXPECT_FALSE(is_unloaded(loader, 50, 30));
  gate.count_down();
  loader.wait_for(3, Operation::kExec);
  EXPECT_EQ(loader.wait_for(50, Operation::kUnloadResource).status, LOADER_OK);
  EXPECT_GT(engine.place_of("unload 7"), engine.place_of("destroy 1"));
  loader.unload_resource(51, 7);
  EXPECT_EQ(loader.wait_for(51, Operation::kUnloadResource).error_code, kUnknown);
  EXPECT_EQ(load(loader, 7).status, LOADER_OK) << "the number is free again";
}

// What the engine refused is not there; the engine's own code and text come back.
TEST(HostResources, ARefusedLoadIsNotLoaded) {
  Taking engine;
  engine.on_load_resource = [](uint32_t, const loader_item_t&, loader_error_t& error) {
    error.size = static_cast<uint32_t>(std::string_view("no voice").copy(error.message, 100));
    return 31;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  const Answer refused = load(loader, 7);
  EXPECT_EQ(refused.status, 31);
  EXPECT_EQ(refused.text, "no voice");
  EXPECT_EQ(open(loader, 1, "[7]").error_code, kUnknown);
}

// Unload and load of one number do not overlap: the later one waits, or is refused.
TEST(HostResources, AnUnloadWaitsForTheLoad) {
  Taking engine;
  std::latch entered(1);
  std::latch gate(1);
  engine.on_load_resource = [&](uint32_t, const loader_item_t&, loader_error_t&) {
    entered.count_down();
    gate.wait();
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {.threads = 3});
  loader.start();
  loader.load_resource(10, 7, {{"k", "v"}});
  entered.wait();
  loader.unload_resource(11, 7);
  loader.load_resource(12, 7, {{"k", "v"}});
  EXPECT_EQ(loader.wait_for(12, Operation::kLoadResource).status, LOADER_ERROR_UNAVAILABLE);
  EXPECT_EQ(engine.count("unload 7"), 0);
  gate.count_down();
  EXPECT_EQ(loader.wait_for(11, Operation::kUnloadResource).status, LOADER_OK);
  EXPECT_EQ(engine.count("unload 7"), 1);
}

// A load is a call on the instance: fini waits until it has returned.
TEST(HostResources, FiniWaitsForALoad) {
  Taking engine;
  std::latch entered(1);
  engine.on_load_resource = [&](uint32_t, const loader_item_t&, loader_error_t&) {
    entered.count_down();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {.threads = 2});
  loader.start();
  loader.load_resource(10, 7, {{"k", "v"}});
  entered.wait();
  EXPECT_EQ(loader.stop(), 0);
  EXPECT_EQ(engine.count("load 7"), 1);
  EXPECT_EQ(engine.calls().back().first, "fini");
}

// A load that does not return is answered by the clock, once.
TEST(HostResources, AHungLoadIsTold) {
  Taking engine;
  std::latch gate(1);
  engine.on_load_resource = [&](uint32_t, const loader_item_t&, loader_error_t&) {
    gate.wait();
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {.threads = 2, .call_timeout_ns = 50'000'000});
  loader.start();
  const Answer hung = load(loader, 7);
  EXPECT_EQ(hung.error_code, static_cast<uint16_t>(ErrorCode::CALL_HUNG));
  EXPECT_EQ(hung.text, "the load of resource 7 did not return within 50 ms");
  gate.count_down();
  EXPECT_EQ(loader.stop(), 0);
}

// An engine that takes no resources gets the parameter as any other.
TEST(HostResources, WithoutThePowerTheParameterIsTheEngines) {
  ScriptEngine engine;
  LoaderEnd loader(engine, {});
  loader.start();
  EXPECT_EQ(open(loader, 1, "[7]").status, LOADER_OK);
  EXPECT_EQ(engine.count("create"), 1);
}

// Half a number, or more than an unload says, is no record.
TEST(HostResources, AMalformedRecordStopsTheHost) {
  for (const std::string& bytes :
       {std::string("\x12\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\7\0", 18),
        std::string("\x15\0\0\0\x11\0\0\0\0\0\0\0\0\0\0\0\7\0\0\0\1", 21)}) {
    Taking engine;
    LoaderEnd loader(engine, {});
    loader.start();
    loader.raw(bytes);
    EXPECT_EQ(loader.join(), 2);
  }
}

// A load whose frame is none, or has two items, is refused and nothing else happens.
TEST(HostResources, AResourceIsOneItem) {
  Taking engine;
  LoaderEnd loader(engine, {});
  loader.start();
  loader.load_resource(1, 7, {{"a", "1"}, {"b", "2"}});
  EXPECT_EQ(loader.wait_for(1, Operation::kLoadResource).status, LOADER_ERROR_ARGUMENT);
  loader.load_resource(2, 7, {});
  EXPECT_EQ(loader.wait_for(2, Operation::kLoadResource).status, LOADER_ERROR_ARGUMENT);
  EXPECT_EQ(engine.count("load 7"), 0);
  EXPECT_EQ(load(loader, 7).status, LOADER_OK);
}

TEST(HostResources, NumbersAreRead) {
  const std::vector<uint32_t> two = {1, 22};
  for (const char* json : {"[1, 22]", "[\"1\",22]", "\"1,22\"", "\" 1 , 22 \"", "1,22"})
    EXPECT_EQ(read_resource_ids(json), two) << json;
  for (const char* json : {"[]", "null", "\"\"", ""})
    EXPECT_TRUE(read_resource_ids(json).empty()) << json;
  for (const char* json : {"[1.5]", "-1", "\"a\"", "[[1]]", "true", "\"1,\\u0000\"", "[1", "[1,]",
                           "4294967296", "[null]"})
    EXPECT_THROW(read_resource_ids(json), std::invalid_argument) << json;
}

}  // namespace
}  // namespace loader::host::test
