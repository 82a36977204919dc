// Which of the 15 AIGES functions a library exports, which of them only under a C++ name, and
// whether that is enough to serve. Calls none of them.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "host/aiges/abi.h"

namespace loader::host::aiges {

// In the order in which AIGES resolves them.
inline constexpr std::array<const char*, 15> kSymbolNames = {
    "wrapperInit",      "wrapperFini",      "wrapperError",  "wrapperVersion",
    "wrapperLoadRes",   "wrapperUnloadRes", "wrapperCreate", "wrapperWrite",
    "wrapperRead",      "wrapperDestroy",   "wrapperExec",   "wrapperExecFree",
    "wrapperExecAsync", "wrapperDebugInfo", "wrapperSetCtrl"};

class Symbols {
 public:
  // `handle` of dlopen, `file` for the C++ names.
  Symbols(void* handle, const std::string& file);

  // It exports at least one of the 15, under whatever name.
  bool is_aiges() const;
  Functions functions() const;
  std::vector<std::string> present() const;
  std::vector<std::string> missing() const;  // mangled ones too
  // The exported C++ name of a function that lacks its C name; empty: none.
  const std::string& mangled_name(const std::string& symbol) const;
  std::vector<std::string> mangled() const;
  // What keeps the library from being served, and the cure; both empty where nothing does.
  struct Refusal {
    std::string what;
    std::string cure;
  };
  Refusal refusal() const;
  // For people: what is there, what is not and what that means, one line each.
  std::vector<std::string> notes() const;

 private:
  void* address(const char* symbol) const;
  bool has(const char* symbol) const { return address(symbol) != nullptr; }
  bool has_mode() const;
  std::string explain_mangled() const;

  std::array<void*, kSymbolNames.size()> addresses_{};
  std::array<std::string, kSymbolNames.size()> mangled_;
};

}  // namespace loader::host::aiges
