#include "server/inline_host.h"

#include <stdexcept>

namespace loader::server {

std::thread run_inline_host(std::vector<channel::HostDescriptors>, const std::string& path) {
  throw std::runtime_error("isolation: inline is not supported yet; use process for " + path);
}

}  // namespace loader::server
