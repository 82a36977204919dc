// The C ABI of AIGES libraries: structs, numbers and signatures, exactly as they are in memory.
// Written from the documented facts; refuses to know how and when anything is called.
#pragma once

#include <cstddef>
#include <cstdint>

namespace loader::host::aiges {

// Parameters, configuration and descriptions. `value` ends in NUL; `vlen` is its length without.
struct ParamList {
  char* key;
  char* value;
  unsigned int vlen;
  ParamList* next;
};

// One keyed piece of data. `data` need not end in NUL. Numbers as they come: a wrapper may write
// any.
struct DataList {
  char* key;
  void* data;
  unsigned int len;
  int type;    // kText ...
  int status;  // kBegin ...
  ParamList* desc;
  DataList* next;
};

enum : int { kText = 0, kAudio = 1, kImage = 2, kVideo = 3, kPersonal = 4 };
enum : int { kBegin = 0, kContinue = 1, kEnd = 2, kOnce = 3 };
// Of wrapperSetCtrl. 1, the metrics log, has no published prototype: it is never set.
enum : int { kMeterCustom = 0, kTraceLog = 2 };

// What an operation that failed says to the client.
enum : int {
  kInitFailed = 10901,
  kLoadResFailed = 10903,
  kUnloadResFailed = 10904,
  kCreateFailed = 10905,
  kWriteFailed = 10907,
  kReadFailed = 10908,
  kExecFailed = 10909,
  kCallbackFailed = 10910
};
// What a control function answers to a key it does not take, and to a tag that is not open.
enum : int { kBadCustom = 20001, kBadHandle = 20002 };

using Callback = int (*)(const char* tag, DataList* results, int ret);
using MeterCustom = int (*)(const char* tag, const char* key, int count);
using TraceLog = int (*)(const char* tag, const char* key, const char* value);

// Null where the library lacks it.
struct Functions {
  int (*init)(ParamList* config);
  int (*fini)();
  const char* (*error)(int number);
  const char* (*version)();
  int (*load_res)(DataList* resource, unsigned int id);
  int (*unload_res)(unsigned int id);
  const void* (*create)(const char* tag, ParamList* params, Callback callback, unsigned int* ids,
                        int id_count, int* error);
  int (*write)(const void* handle, DataList* request);
  int (*read)(const void* handle, DataList** results);
  int (*destroy)(const void* handle);
  int (*exec)(const char* tag, ParamList* params, DataList* request, DataList** results,
              unsigned int* ids, int id_count);
  int (*exec_free)(const char* tag, DataList** results);
  int (*exec_async)(const char* tag, ParamList* params, DataList* request, Callback callback,
                    int timeout, unsigned int* ids, int id_count);
  const char* (*debug_info)(const void* handle);
  int (*set_ctrl)(int type, void* function);
};

#if UINTPTR_MAX == 0xffffffffffffffffu
static_assert(sizeof(ParamList) == 32 && offsetof(ParamList, vlen) == 16);
static_assert(sizeof(DataList) == 48 && offsetof(DataList, type) == 20);
static_assert(offsetof(DataList, status) == 24 && offsetof(DataList, desc) == 32);
#endif

}  // namespace loader::host::aiges
