// Loads a wrapper library, or one of AIGES, and checks it in stages, before any of its entries is
// called. A refusal names the file, what is wrong with it (both versions, or the missing name) and
// the cure. Refuses to know sessions, channels and hosts.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "host/aiges/library.h"
#include "loader/ext/health.h"
#include "loader/ext/resources.h"
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
  // Null for a wrapper of our own kind.
  const aiges::AigesLibrary* aiges() const { return aiges_.get(); }
  // What `*instance` is when the table's init is called.
  void* first_instance() const { return aiges_.get(); }
  // Empty where the wrapper declares nothing.
  std::string describe_json() const;
  // channel::ReadyFlag bits: entries, extensions, declared properties.
  uint32_t flags() const;
  // Null where the wrapper does not offer it.
  const loader_ext_warmup_t* warm_up() const { return warm_up_; }
  const loader_ext_update_t* update() const { return update_; }
  const loader_ext_health_t* health() const { return health_; }
  const loader_ext_resources_t* resources() const { return resources_; }

 private:
  Library() = default;
  void find_table();
  void find_aiges();
  void check_versions() const;
  void check_entries() const;
  void find_extensions();
  void read_description();

  std::string file_;
  void* handle_ = nullptr;
  std::unique_ptr<aiges::AigesLibrary> aiges_;
  const loader_wrapper_t* table_ = nullptr;
  const loader_ext_warmup_t* warm_up_ = nullptr;
  const loader_ext_update_t* update_ = nullptr;
  const loader_ext_health_t* health_ = nullptr;
  const loader_ext_resources_t* resources_ = nullptr;
  uint32_t properties_ = 0;
};

}  // namespace loader::host
