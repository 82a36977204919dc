#include "host/library.h"

#include <dlfcn.h>
#include <elf.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "channel/bodies.h"
#include "host/description.h"

namespace loader::host {

namespace {

std::string ours() {
  return std::to_string(LOADER_ABI_MAJOR) + "." + std::to_string(LOADER_ABI_MINOR);
}

[[noreturn]] void refuse(const std::string& file, const std::string& what,
                         const std::string& cure) {
  throw BadLibrary("Cannot load the wrapper " + file + ": " + what + ". " + cure + ".");
}

void check_file(const std::string& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) {
    refuse(file, std::string("no such file (") + std::strerror(errno) + ")",
           "Build the wrapper, or correct `entry` in its engine.yaml");
  }
  if (S_ISDIR(info.st_mode))
    refuse(file, "it is a folder", "Name the library in it with `entry` in its engine.yaml");
  std::ifstream stream(file, std::ios::binary);
  Elf64_Ehdr header{};
  stream.read(reinterpret_cast<char*>(&header), sizeof header);
  const bool is_elf =
      stream.gcount() == sizeof header && std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0;
  if (!is_elf)
    refuse(file, "it is not an ELF library, or is cut short",
           "Build it with -shared -fPIC; a Python wrapper needs `kind: python` in its engine.yaml");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_type != ET_DYN)
    refuse(file, "it is not a 64-bit shared library", "Build it with -shared -fPIC -m64");
}

// dlopen's text begins with the file's name; what follows says which symbol or library is missing.
[[noreturn]] void refuse_open(const std::string& file, std::string text) {
  const std::string mark = "undefined symbol: ";
  if (const size_t at = text.find(mark); at != std::string::npos) {
    std::string symbol = text.substr(at + mark.size());
    symbol.resize(std::min(symbol.find_first_of(" \t("), symbol.size()));
    refuse(file, "undefined symbol " + symbol,
           "Link the library that defines it: -Wl,--no-undefined shows all that are missing");
  }
  if (const size_t at = text.find(": cannot open shared object file"); at != std::string::npos) {
    refuse(file, "it needs " + text.substr(0, at) + ", which is not found",
           "Install that library, or link with -Wl,-rpath to where it lies");
  }
  refuse(file, text, "See `ldd " + file + "`");
}

void* open_library(const std::string& file) {
  // NODELETE: threads that a wrapper left behind must not lose their code.
  void* handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle != nullptr) return handle;
  const char* text = ::dlerror();
  refuse_open(file, text == nullptr ? "dlopen failed" : text);
}

[[noreturn]] void refuse_symbol(const std::string& file, void* handle) {
  if (::dlsym(handle, "_Z14loader_wrapperv") != nullptr) {
    refuse(file, "it exports the C++ symbol _Z14loader_wrapperv instead of loader_wrapper",
           "Include <loader/wrapper.h> where the function is defined, or declare it extern \"C\"");
  }
  refuse(file,
         "it is not a wrapper: it exports no function loader_wrapper, and none of AIGES's "
         "wrapperInit, "
         "wrapperExec and so on",
         "Define loader_wrapper as in <loader/wrapper.h>, with LOADER_EXPORT, and keep it out of a "
         "version script's `local`");
}

}  // namespace

Library Library::load(const std::string& file) {
  Library library;
  library.file_ = file;
  check_file(file);
  library.handle_ = open_library(file);
  library.find_table();
  library.check_versions();
  library.check_entries();
  library.find_extensions();
  library.read_description();
  return library;
}

Library::Library(Library&& other) noexcept {
  *this = std::move(other);
}

Library& Library::operator=(Library&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(handle_, other.handle_);
  std::swap(aiges_, other.aiges_);
  std::swap(table_, other.table_);
  std::swap(warm_up_, other.warm_up_);
  std::swap(update_, other.update_);
  std::swap(health_, other.health_);
  std::swap(resources_, other.resources_);
  std::swap(properties_, other.properties_);
  return *this;
}

Library::~Library() {
  if (handle_ != nullptr) ::dlclose(handle_);
}

void Library::find_table() {
  void* symbol = ::dlsym(handle_, LOADER_WRAPPER_SYMBOL);
  if (symbol == nullptr) return find_aiges();
  using Entry = const loader_wrapper_t* (*)();
  table_ = reinterpret_cast<Entry>(symbol)();
  if (table_ == nullptr)
    refuse(file_, "loader_wrapper() returned NULL", "Return the address of a static table");
}

void Library::find_aiges() {
  aiges::Symbols symbols(handle_, file_);
  if (!symbols.is_aiges()) refuse_symbol(file_, handle_);
  const auto refusal = symbols.refusal();
  if (!refusal.what.empty()) refuse(file_, refusal.what, refusal.cure);
  aiges_ = std::make_unique<aiges::AigesLibrary>(std::move(symbols), file_);
  table_ = &aiges_->table();
}

void Library::check_versions() const {
  const std::string theirs =
      std::to_string(table_->abi_major) + "." + std::to_string(table_->abi_minor);
  if (table_->abi_major != LOADER_ABI_MAJOR) {
    refuse(file_, "it was built for wrapper ABI " + theirs + ", this host speaks " + ours(),
           table_->abi_major < LOADER_ABI_MAJOR
               ? "Rebuild it against this version's <loader/wrapper.h>"
               : "Install the engine-loader it was built for, or rebuild it against this version's "
                 "<loader/wrapper.h>");
  }
  // Every minor so far has at least the table of minor 0.
  if (table_->struct_size < sizeof(loader_wrapper_t)) {
    refuse(file_,
           "its table says struct_size " + std::to_string(table_->struct_size) + ", ABI " + ours() +
               " has at least " + std::to_string(sizeof(loader_wrapper_t)) + " (it says ABI " +
               theirs + ")",
           "Set struct_size to sizeof(loader_wrapper_t) and rebuild it against this version's "
           "<loader/wrapper.h>");
  }
}

void Library::check_entries() const {
  const loader_wrapper_t& table = *table_;
  const bool has_sessions = table.create != nullptr;
  const bool has_both = table.exec != nullptr || has_sessions;
  struct Need {
    const char* name;
    bool is_there;
  };
  const std::array<Need, 7> needs = {{{"name", table.name != nullptr},
                                      {"version", table.version != nullptr},
                                      {"init", table.init != nullptr},
                                      {"fini", table.fini != nullptr},
                                      {"exec or create", has_both},
                                      {"write", !has_sessions || table.write != nullptr},
                                      {"destroy", !has_sessions || table.destroy != nullptr}}};
  for (const Need& need : needs) {
    if (need.is_there) continue;
    refuse(
        file_,
        std::string("its table (wrapper ABI ") + std::to_string(table.abi_major) + "." +
            std::to_string(table.abi_minor) + ", host " + ours() + ") has no entry `" + need.name +
            "`",
        std::string("Set `") + need.name +
            "` in the table that loader_wrapper() returns; <loader/wrapper.h> says what it does");
  }
}

void Library::find_extensions() {
  if (table_->get_extension == nullptr) return;
  const auto find = [this]<typename T>(const char* id, const T*& out) {
    const auto* found = static_cast<const T*>(table_->get_extension(id));
    if (found == nullptr) return;
    if (found->struct_size < sizeof(T)) {
      refuse(file_,
             std::string("its extension ") + id + " says struct_size " +
                 std::to_string(found->struct_size) + ", this host knows " +
                 std::to_string(sizeof(T)),
             "Set struct_size to the struct's sizeof and rebuild");
    }
    out = found;
  };
  find(LOADER_EXT_WARMUP, warm_up_);
  find(LOADER_EXT_UPDATE, update_);
  find(LOADER_EXT_HEALTH, health_);
  find(LOADER_EXT_RESOURCES, resources_);
  // The adapter's entries are the same for every AIGES library.
  if (aiges_ && aiges_->functions().load_res == nullptr) resources_ = nullptr;
}

std::string Library::describe_json() const {
  const char* json = table_->describe == nullptr ? nullptr : table_->describe();
  return json == nullptr ? std::string() : std::string(json);
}

void Library::read_description() {
  const std::string json = describe_json();
  if (json.empty()) return;
  std::string error;
  const auto properties = read_properties(json, error);
  if (!properties)
    refuse(file_, "describe() does not return a JSON object: " + error,
           "See the comment of `describe` in <loader/wrapper.h>");
  using namespace channel;
  if (properties->is_non_blocking) properties_ |= kIsNonBlocking;
  if (properties->is_deterministic) properties_ |= kIsDeterministic;
  if (properties->has_fixed_slots) properties_ |= kHasFixedSlots;
}

uint32_t Library::flags() const {
  using namespace channel;
  uint32_t flags = properties_;
  if (table_->exec != nullptr) flags |= kHasExec;
  if (table_->create != nullptr) flags |= kHasSessions;
  if (table_->cancel != nullptr) flags |= kHasCancel;
  if (warm_up_ != nullptr) flags |= kHasWarmUp;
  if (update_ != nullptr) flags |= kHasUpdate;
  if (health_ != nullptr) flags |= kHasHealth;
  if (resources_ != nullptr) flags |= kHasResources;
  return flags;
}

}  // namespace loader::host
