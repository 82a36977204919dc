// A job that is one function. Knows nothing else.
#pragma once

#include <functional>
#include <utility>

#include "host/dispatcher.h"

namespace loader::host {

class FunctionJob final : public Job {
 public:
  explicit FunctionJob(std::function<void()> work) : work_(std::move(work)) {}
  void run() noexcept override { work_(); }

 private:
  std::function<void()> work_;
};

}  // namespace loader::host
