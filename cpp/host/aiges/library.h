// An AIGES library that is loaded but not initialised, with the table by which it is driven like
// any wrapper of ours. The table's entries are in table.cpp.
#pragma once

#include <string>

#include "host/aiges/abi.h"
#include "host/aiges/symbols.h"
#include "loader/ext/resources.h"
#include "loader/wrapper.h"

namespace loader::host::aiges {

class AigesLibrary {
 public:
  // `symbols` are enough to be served.
  AigesLibrary(Symbols symbols, const std::string& file);
  AigesLibrary(const AigesLibrary&) = delete;
  AigesLibrary& operator=(const AigesLibrary&) = delete;

  // Its init finds this object in `*instance`: C functions know no library.
  const loader_wrapper_t& table() const { return table_; }
  const Symbols& symbols() const { return symbols_; }
  const Functions& functions() const { return functions_; }
  // What wrapperVersion says; it is not asked before wrapperInit.
  void set_version(std::string version);

 private:
  const Symbols symbols_;
  const Functions functions_;
  const std::string name_;
  std::string version_;
  loader_wrapper_t table_{};
};

// The entries, without `name`, `version` and what the library has not.
const loader_wrapper_t& all_entries();

}  // namespace loader::host::aiges
