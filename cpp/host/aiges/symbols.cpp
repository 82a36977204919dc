#include "host/aiges/symbols.h"

#include <dlfcn.h>

#include <cstring>

#include "host/aiges/dynamic_symbols.h"

namespace loader::host::aiges {

namespace {

const char* const kWhatMangledMeans =
    "compiled as a C++ overload, because the definition's parameters are not those of the "
    "prototype "
    "in AIGES's header (often `const void*` where it says `const char*`), so extern \"C\" does not "
    "hold for it and nobody finds it under its name";
const char* const kMangledCure =
    "Give each definition exactly the parameters of its prototype, or declare the definition "
    "itself "
    "extern \"C\"";

size_t index_of(const std::string& symbol) {
  size_t i = 0;
  while (i < kSymbolNames.size() && kSymbolNames[i] != symbol) ++i;
  return i;
}

// `_Z11wrapperExecPKv...`: the name behind its length. False for every other C++ name.
bool is_mangled_form_of(const std::string& exported, const char* symbol) {
  const std::string begin = "_Z" + std::to_string(std::strlen(symbol)) + symbol;
  return exported.compare(0, begin.size(), begin) == 0;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

template <typename Function>
void set(Function& function, void* address) {
  function = reinterpret_cast<Function>(address);
}

}  // namespace

Symbols::Symbols(void* handle, const std::string& file) {
  bool is_complete = true;
  for (size_t i = 0; i < kSymbolNames.size(); ++i) {
    addresses_[i] = ::dlsym(handle, kSymbolNames[i]);
    is_complete = is_complete && addresses_[i] != nullptr;
  }
  if (is_complete) return;
  for (const std::string& exported : exported_names(file)) {
    for (size_t i = 0; i < kSymbolNames.size(); ++i) {
      if (addresses_[i] == nullptr && is_mangled_form_of(exported, kSymbolNames[i]))
        mangled_[i] = exported;
    }
  }
}

bool Symbols::is_aiges() const {
  for (size_t i = 0; i < kSymbolNames.size(); ++i)
    if (addresses_[i] != nullptr || !mangled_[i].empty()) return true;
  return false;
}

void* Symbols::address(const char* symbol) const {
  return addresses_[index_of(symbol)];
}

Functions Symbols::functions() const {
  Functions made{};
  set(made.init, address("wrapperInit"));
  set(made.fini, address("wrapperFini"));
  set(made.error, address("wrapperError"));
  set(made.version, address("wrapperVersion"));
  set(made.load_res, address("wrapperLoadRes"));
  set(made.unload_res, address("wrapperUnloadRes"));
  set(made.create, address("wrapperCreate"));
  set(made.write, address("wrapperWrite"));
  set(made.read, address("wrapperRead"));
  set(made.destroy, address("wrapperDestroy"));
  set(made.exec, address("wrapperExec"));
  set(made.exec_free, address("wrapperExecFree"));
  set(made.exec_async, address("wrapperExecAsync"));
  set(made.debug_info, address("wrapperDebugInfo"));
  set(made.set_ctrl, address("wrapperSetCtrl"));
  return made;
}

std::vector<std::string> Symbols::present() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < kSymbolNames.size(); ++i)
    if (addresses_[i] != nullptr) names.emplace_back(kSymbolNames[i]);
  return names;
}

std::vector<std::string> Symbols::missing() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < kSymbolNames.size(); ++i)
    if (addresses_[i] == nullptr) names.emplace_back(kSymbolNames[i]);
  return names;
}

const std::string& Symbols::mangled_name(const std::string& symbol) const {
  return mangled_[index_of(symbol)];
}

std::vector<std::string> Symbols::mangled() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < kSymbolNames.size(); ++i)
    if (!mangled_[i].empty()) names.emplace_back(kSymbolNames[i]);
  return names;
}

bool Symbols::has_mode() const {
  const bool has_sessions = has("wrapperCreate") && has("wrapperWrite") && has("wrapperDestroy");
  return has("wrapperExec") || has("wrapperExecAsync") || has_sessions;
}

std::string Symbols::explain_mangled() const {
  std::string renamed;
  for (const std::string& symbol : mangled())
    renamed += (renamed.empty() ? "" : ", ") + symbol + " as " + mangled_name(symbol);
  return "exported under a C++ name only: " + renamed + ": " + kWhatMangledMeans;
}

Symbols::Refusal Symbols::refusal() const {
  std::string lacks;
  if (!has_mode())
    lacks =
        "a complete mode: none of wrapperExec, wrapperExecAsync, and wrapperCreate with "
        "wrapperWrite and wrapperDestroy";
  for (const char* symbol : {"wrapperError", "wrapperInit"})
    if (!has(symbol)) lacks = symbol;
  if (lacks.empty()) return {};
  const std::string what = "it is an AIGES library (" + joined(present()) + ") without " + lacks;
  if (!mangled().empty()) return {what + "; " + explain_mangled(), kMangledCure};
  return {what, "Export it with C linkage and default visibility"};
}

std::vector<std::string> Symbols::notes() const {
  std::vector<std::string> lines;
  lines.push_back("AIGES symbols: " + std::to_string(present().size()) + " of " +
                  std::to_string(kSymbolNames.size()) + ": " + joined(present()));
  std::vector<std::string> absent;
  for (const std::string& symbol : missing())
    if (mangled_name(symbol).empty()) absent.push_back(symbol);
  if (!absent.empty()) lines.push_back("not exported: " + joined(absent));
  if (!mangled().empty()) lines.push_back(explain_mangled() + ". " + kMangledCure);
  return lines;
}

}  // namespace loader::host::aiges
