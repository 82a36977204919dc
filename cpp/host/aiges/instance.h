// One AIGES library after wrapperInit: its functions, its host and its settings, and what went
// wrong in words. Refuses to know sessions and calls.
#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <vector>

#include "host/aiges/abi.h"
#include "host/aiges/values.h"
#include "loader/wrapper.h"

namespace loader::host::aiges {

// How an operation failed; code 0: it did not.
struct Failure {
  loader_status_t code = LOADER_OK;
  std::string text;
  explicit operator bool() const { return code != LOADER_OK; }
};

// What a session or exec was opened with.
struct Opening {
  TextPairs params;                     // always with `sid`
  std::vector<unsigned int> resources;  // loaded, while the session or exec lives
};

class Instance {
 public:
  Instance(const Functions& functions, const loader_host_t& host, Settings settings)
      : functions_(functions), host_(host), settings_(settings) {}
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  const Functions& functions() const { return functions_; }
  const loader_host_t& host() const { return host_; }
  const Settings& settings() const { return settings_; }
  void log(loader_handle_t handle, int32_t level, const std::string& text) const;

  // Runs one function of the library: its number is 0, or wrapperError explains it under `code`.
  // What it throws is a failure with number -1.
  template <typename Call>
  Failure run(int code, Call&& call) const noexcept;
  // "<wrapperError(number)>;code=<number>"
  Failure explained(int code, int number) const noexcept;

  // The parameters as the library takes them, and `resource_ids` taken out of them. Throws
  // std::invalid_argument.
  Opening opening(const loader_open_t& open) const;

  Failure load_resource(unsigned int id, const loader_item_t& resource);
  Failure unload_resource(unsigned int id);

  // Callbacks in progress: the host's table is theirs until they have left.
  void enter();
  void leave();
  void wait_until_left();

 private:
  const Functions functions_;
  const loader_host_t& host_;
  const Settings settings_;
  std::mutex mutex_;  // everything below
  std::condition_variable changed_;
  size_t visitors_ = 0;
};

// "<what>;code=-1"
Failure thrown(int code, const char* what) noexcept;

// Writes the failure where an entry's caller reads it; gives its code.
loader_status_t tell(const Failure& failure, loader_error_t& error);

template <typename Call>
Failure Instance::run(int code, Call&& call) const noexcept {
  try {
    const int number = call();
    return number == 0 ? Failure{} : explained(code, number);
  } catch (const std::exception& error) {
    return thrown(code, error.what());
  } catch (...) {
    return thrown(code, "the library threw something");
  }
}

}  // namespace loader::host::aiges
