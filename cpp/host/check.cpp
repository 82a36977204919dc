#include "host/check.h"

#include <cstdio>
#include <vector>

#include "host/description.h"
#include "host/library.h"

namespace loader::host {

namespace {

std::string list(const std::vector<std::pair<const char*, bool>>& names) {
  std::string out;
  for (const auto& [name, is_there] : names) {
    if (!is_there) continue;
    if (!out.empty()) out += ", ";
    out += quoted(name);
  }
  return "[" + out + "]";
}

std::string quoted_list(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + quoted(text);
  return "[" + out + "]";
}

std::string symbols_of(const aiges::AigesLibrary& library) {
  const aiges::Symbols& symbols = library.symbols();
  std::string mangled;
  for (const std::string& name : symbols.mangled())
    mangled +=
        (mangled.empty() ? "" : ", ") + quoted(name) + ": " + quoted(symbols.mangled_name(name));
  return "{\"symbols\": " + quoted_list(symbols.present()) +
         ", \"missing\": " + quoted_list(symbols.missing()) + ", \"mangled\": {" + mangled +
         "}, \"notes\": " + quoted_list(symbols.notes()) + "}";
}

std::string report(const Library& library) {
  const loader_wrapper_t& table = library.table();
  const std::string describe = library.describe_json();
  std::string out = "{\"ok\": true, \"file\": " + quoted(library.file());
  out += ", \"name\": " + quoted(table.name) + ", \"version\": " + quoted(table.version);
  out += ", \"abi\": {\"major\": " + std::to_string(table.abi_major) +
         ", \"minor\": " + std::to_string(table.abi_minor) +
         ", \"struct_size\": " + std::to_string(table.struct_size) + "}";
  out += ", \"host_abi\": {\"major\": " + std::to_string(LOADER_ABI_MAJOR) +
         ", \"minor\": " + std::to_string(LOADER_ABI_MINOR) + "}";
  out += ", \"entries\": " + list({{"describe", table.describe != nullptr},
                                   {"init", true},
                                   {"fini", true},
                                   {"exec", table.exec != nullptr},
                                   {"create", table.create != nullptr},
                                   {"write", table.write != nullptr},
                                   {"end", table.end != nullptr},
                                   {"cancel", table.cancel != nullptr},
                                   {"destroy", table.destroy != nullptr},
                                   {"get_extension", table.get_extension != nullptr}});
  out += ", \"extensions\": " + list({{LOADER_EXT_WARMUP, library.warm_up() != nullptr},
                                      {LOADER_EXT_UPDATE, library.update() != nullptr},
                                      {LOADER_EXT_HEALTH, library.health() != nullptr},
                                      {LOADER_EXT_RESOURCES, library.resources() != nullptr}});
  if (library.aiges() != nullptr) out += ", \"aiges\": " + symbols_of(*library.aiges());
  out += ", \"describe\": " + (describe.empty() ? "null" : describe);
  for (char& byte : out)  // describe may be laid out over several lines
    if (byte == '\n' || byte == '\r' || byte == '\t') byte = ' ';
  return out + "}";
}

}  // namespace

int check_library(const std::string& file) {
  // A bare name would be searched for in the system's folders.
  const std::string path = file.find('/') == std::string::npos ? "./" + file : file;
  try {
    std::puts(report(Library::load(path)).c_str());
    return 0;
  } catch (const std::exception& refusal) {
    std::printf("{\"ok\": false, \"file\": %s, \"error\": %s}\n", quoted(file).c_str(),
                quoted(refusal.what()).c_str());
    return 1;
  }
}

}  // namespace loader::host
