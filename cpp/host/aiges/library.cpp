#include "host/aiges/library.h"

#include <utility>

#include "host/outcome.h"

namespace loader::host::aiges {

namespace {

// The file's name without folder and endings.
std::string stem_of(const std::string& file) {
  const std::string name = file.substr(file.rfind('/') + 1);
  return name.substr(0, name.find('.'));
}

}  // namespace

AigesLibrary::AigesLibrary(Symbols symbols, const std::string& file)
    : symbols_(std::move(symbols)),
      functions_(symbols_.functions()),
      name_(stem_of(file)),
      table_(all_entries()) {
  table_.name = name_.c_str();
  table_.version = version_.c_str();
  if (functions_.exec == nullptr && functions_.exec_async == nullptr) table_.exec = nullptr;
  const bool has_sessions =
      functions_.create != nullptr && functions_.write != nullptr && functions_.destroy != nullptr;
  if (!has_sessions) table_.create = nullptr;
}

void AigesLibrary::set_version(std::string version) {
  version_ = clean_text(version);
  table_.version = version_.c_str();
}

}  // namespace loader::host::aiges
