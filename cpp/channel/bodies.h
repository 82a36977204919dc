// What the bodies of records say: one struct for each, with its encoding. Little-endian, texts with
// a u32 length. Refuses to know frames (frame/frame_codec.h): a frame is the rest of a body.
//
// encode_*: appends nothing else; size_of() first, write() then, so that a body is written in
// place. decode(): false when the bytes are short, long or out of range; views point into the
// bytes.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loader/wrapper.h"

namespace loader::channel {

using Bytes = std::span<const uint8_t>;

constexpr uint32_t kHelloMagic = 0x3143444cu;  // "LDC1"
constexpr uint32_t kProtocolVersion = 2;       // changes with every change of record.h or this file
constexpr int64_t kNoDeadline = std::numeric_limits<int64_t>::max();

enum class Language : uint32_t { kLoader = 0, kNative = 1, kPython = 2 };

struct Hello {
  uint32_t magic = kHelloMagic;
  uint32_t protocol = kProtocolVersion;
  uint32_t abi_major = LOADER_ABI_MAJOR;
  uint32_t abi_minor = LOADER_ABI_MINOR;
  uint32_t shard = 0;  // which channel of the host this is
  uint32_t shard_count = 1;
  uint32_t pid = 0;
  Language language = Language::kLoader;
  std::string package_version;  // of engine-loader
  std::string runtime;  // who speaks: "loader", "loader-host", "python 3.11.2 /usr/bin/python3"
};

// Nothing when both can talk; else what is wrong, with both versions and the cure. `mine` is the
// side that asks; the same package version is required on both sides.
std::optional<std::string> refuse_hello(const Hello& mine, const Hello& theirs);

struct PairView {
  std::string_view key;
  std::string_view value;
};

// kInit and kUpdate.
struct InitBody {
  std::string_view engine;
  std::string_view version;
  std::string_view directory;  // absolute
  std::string_view entry;      // file inside the directory: wrapper.py, wrapper.so
  std::string_view json;       // the engine's `config`
  uint32_t slots = 1;
  uint32_t threads = 1;
  int64_t call_timeout_ns =
      kNoDeadline;  // of write, end and exec; kNoDeadline: the host has no clock
  uint32_t handover_us = 100;
  std::vector<PairView> options;  // room to grow without a new protocol; unknown keys are ignored
};

// kCreate, and the front of kExec.
struct OpenBody {
  std::string_view session_id;
  int64_t deadline_ns = kNoDeadline;  // CLOCK_MONOTONIC of this node
  uint32_t window_records = 0;        // the first grant for results
  uint64_t window_bytes = 0;
  std::vector<PairView> parameters;
  std::vector<PairView> metadata;

  void clear();
};

struct ReasonBody {
  int32_t reason = 0;  // LOADER_REASON_*
};

struct CreditBody {
  uint32_t records = 0;
  uint64_t bytes = 0;
};

struct PingBody {
  uint64_t nonce = 0;
};

// kRelease: the body is an array of u32 block numbers.
struct ReleaseBody {
  std::vector<uint32_t> blocks;
};

struct ArenaBody {
  uint64_t size = 0;  // of the memory file that comes along as the record's one payload
};

// kUnloadResource, and the front of kLoadResource. The record's handle, which comes back in the
// completion, is the loader's name for the call.
struct ResourceBody {
  uint32_t id = 0;
};

enum class Operation : uint8_t {
  kInit = 1,
  kCreate = 2,
  kWrite = 3,
  kEnd = 4,
  kExec = 5,
  kUpdate = 6,
  kHealth = 7,
  kDestroy = 8,
  kWarmUp = 9,  // of INIT's two parts, where it is the one that failed
  kLoadResource = 10,
  kUnloadResource = 11
};

// Exactly one for each operation begun.
struct CompletionBody {
  Operation operation{};
  int32_t status = 0;       // loader_status_t: 0, negative ours, positive the engine's own code
  uint16_t error_code = 0;  // of errors.def; 0: follows from operation and status
  std::string_view message;
};

// Which powers the wrapper has.
enum ReadyFlag : uint32_t {
  kHasExec = 1u << 0,
  kHasSessions = 1u << 1,
  kHasCancel = 1u << 2,
  kHasWarmUp = 1u << 3,
  kHasUpdate = 1u << 4,
  kHasHealth = 1u << 5,
  kIsNonBlocking = 1u << 6,
  kIsDeterministic = 1u << 7,
  kHasFixedSlots = 1u << 8,
  kHasResources = 1u << 9
};

struct ReadyBody {
  uint32_t flags = 0;  // ReadyFlag
  uint32_t abi_major = 0;
  uint32_t abi_minor = 0;
  std::string_view name;
  std::string_view version;
  std::string_view describe_json;
};

struct LogBody {
  int32_t level = 0;  // LOADER_LOG_*
  std::string_view text;
};

struct MeterBody {
  double amount = 0;
  std::string_view unit;
};

struct TraceBody {
  std::string_view key;
  std::string_view value;
};

struct HungBody {
  Operation operation{};
  int64_t elapsed_ns = 0;
};

// Of the session that the record names; its results left before.
struct FailureBody {
  int32_t status = 0;  // as in a completion
  std::string_view message;
};

size_t size_of(const Hello& body);
size_t size_of(const InitBody& body);
size_t size_of(const OpenBody& body);
size_t size_of(const ReasonBody& body);
size_t size_of(const CreditBody& body);
size_t size_of(const PingBody& body);
size_t size_of(const ReleaseBody& body);
size_t size_of(const ArenaBody& body);
size_t size_of(const ResourceBody& body);
size_t size_of(const CompletionBody& body);
size_t size_of(const ReadyBody& body);
size_t size_of(const LogBody& body);
size_t size_of(const MeterBody& body);
size_t size_of(const TraceBody& body);
size_t size_of(const HungBody& body);
size_t size_of(const FailureBody& body);

// Each writes size_of() bytes and returns the end.
uint8_t* write(const Hello& body, uint8_t* out);
uint8_t* write(const InitBody& body, uint8_t* out);
uint8_t* write(const OpenBody& body, uint8_t* out);
uint8_t* write(const ReasonBody& body, uint8_t* out);
uint8_t* write(const CreditBody& body, uint8_t* out);
uint8_t* write(const PingBody& body, uint8_t* out);
uint8_t* write(const ReleaseBody& body, uint8_t* out);
uint8_t* write(const ArenaBody& body, uint8_t* out);
uint8_t* write(const ResourceBody& body, uint8_t* out);
uint8_t* write(const CompletionBody& body, uint8_t* out);
uint8_t* write(const ReadyBody& body, uint8_t* out);
uint8_t* write(const LogBody& body, uint8_t* out);
uint8_t* write(const MeterBody& body, uint8_t* out);
uint8_t* write(const TraceBody& body, uint8_t* out);
uint8_t* write(const HungBody& body, uint8_t* out);
uint8_t* write(const FailureBody& body, uint8_t* out);

bool decode(Bytes bytes, Hello& out);
bool decode(Bytes bytes, InitBody& out);
// `rest` gets what follows the open information: the frame of an exec, nothing for a create.
bool decode(Bytes bytes, OpenBody& out, Bytes& rest);
bool decode(Bytes bytes, ReasonBody& out);
bool decode(Bytes bytes, CreditBody& out);
bool decode(Bytes bytes, PingBody& out);
bool decode(Bytes bytes, ReleaseBody& out);
bool decode(Bytes bytes, ArenaBody& out);
// `rest` gets the frame of a load, nothing for an unload.
bool decode(Bytes bytes, ResourceBody& out, Bytes& rest);
bool decode(Bytes bytes, CompletionBody& out);
bool decode(Bytes bytes, ReadyBody& out);
bool decode(Bytes bytes, LogBody& out);
bool decode(Bytes bytes, MeterBody& out);
bool decode(Bytes bytes, TraceBody& out);
bool decode(Bytes bytes, HungBody& out);
bool decode(Bytes bytes, FailureBody& out);

}  // namespace loader::channel
