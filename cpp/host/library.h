// Loads a wrapper library and checks it in stages, before any of its entries is called. A refusal
// names the file, what is wrong with it (both versions, or the missing name) and the cure.
// Refuses to know sessions, channels and hosts.
#pragma once

#include <stdexcept>
#include <string>

#include "loader/ext/health.h"
#include "loader/ext/update.h"
#include "loader/ext/warmup.h"
#include "loader/wrapper.h"

namespace loader::host {

class BadLibrary : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Library {
 public:
  // Throws BadLibrary.
  static Library load(const std::string& file);
  Library(Library&& other) noexcept;
  Library& operator=(Library&& other) noexcept;
  ~Library();

  const std::string& file() const { return file_; }
  const loader_wrapper_t& table() const { return *table_; }
  // Empty where the wrapper declares nothing.
  std::string describe_json() const;
  // channel::ReadyFlag bits: entries, extensions, declared properties.
  uint32_t flags() const;
  // Null where the wrapper does not offer it.
  const loader_ext_warmup_t* warm_up() const { return warm_up_; }
  const loader_ext_update_t* update() const { return update_; }
  const loader_ext_health_t* health() const { return health_; }

 private:
  Library() = default;
  void find_table();
  void check_versions() const;
  void check_entries() const;
  void find_extensions();
  void read_description();

  std::string file_;
  void* handle_ = nullptr;
  const loader_wrapper_t* table_ = nullptr;
  const loader_ext_warmup_t* warm_up_ = nullptr;
  const loader_ext_update_t* update_ = nullptr;
  const loader_ext_health_t* health_ = nullptr;
  uint32_t properties_ = 0;
};

}  // namespace loader::host
