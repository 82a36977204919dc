// What every ABI entry written in C++ needs: views of its strings, its error text, and no exception
// across the border. Knows wrapper.h only. Wrappers on wrapper.hpp do not need it.
#pragma once

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "loader/wrapper.h"

inline std::string_view view(const loader_string_t& text) {
  return {text.data, static_cast<size_t>(text.size)};
}

inline void say(loader_error_t* error, std::string_view message) {
  if (error == nullptr || error->message == nullptr) return;
  error->size = static_cast<uint32_t>(std::min<size_t>(message.size(), error->capacity));
  std::memcpy(error->message, message.data(), error->size);
}

// Runs one entry; what it throws becomes a status and a text.
template <typename Body>
loader_status_t guarded(loader_error_t* error, Body body) noexcept {
  try {
    return body();
  } catch (const std::invalid_argument& failure) {
    say(error, failure.what());
    return LOADER_ERROR_INVALID_INPUT;
  } catch (const std::exception& failure) {
    say(error, failure.what());
  } catch (...) {
    say(error, "unknown exception");
  }
  return LOADER_ERROR_INTERNAL;
}
