// The C functions that a library is given: for results, for metering and for traces. All find their
// session by the tag's text; none throws, and none waits for anything but Listener.
#pragma once

#include "host/aiges/abi.h"

namespace loader::host::aiges {

// 0: taken; -1: no session has that tag, or its results are over.
int on_results(const char* tag, DataList* results, int ret) noexcept;
// 0, kBadHandle for a tag that is not open, kBadCustom without a key.
int on_meter(const char* tag, const char* key, int count) noexcept;
int on_trace(const char* tag, const char* key, const char* value) noexcept;

}  // namespace loader::host::aiges
