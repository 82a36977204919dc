// `loader-host --check FILE`: what `loader check` prints of a native wrapper.
#pragma once

#include <string>

namespace loader::host {

// One JSON line on standard output. 0: it loads; 1: it does not, and `error` in the JSON says why.
int check_library(const std::string& file);

}  // namespace loader::host
