#include "host/aiges/dynamic_symbols.h"

#include <elf.h>

#include <fstream>

namespace loader::host::aiges {

namespace {

constexpr uint64_t kMostBytes = uint64_t{256} * 1024 * 1024;

// `count` records at `offset`; empty where the file does not hold them.
template <typename Record>
std::vector<Record> read_at(std::ifstream& file, uint64_t offset, uint64_t count) {
  if (count == 0 || count > kMostBytes / sizeof(Record)) return {};
  std::vector<Record> records(count);
  const auto size = static_cast<std::streamsize>(count * sizeof(Record));
  file.clear();
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(records.data()), size);
  if (file.gcount() != size) return {};
  return records;
}

std::vector<std::string> names_in(std::ifstream& file, const Elf64_Shdr& table,
                                  const Elf64_Shdr& texts) {
  const auto symbols = read_at<Elf64_Sym>(file, table.sh_offset, table.sh_size / sizeof(Elf64_Sym));
  auto characters = read_at<char>(file, texts.sh_offset, texts.sh_size);
  if (characters.empty()) return {};
  characters.back() = '\0';
  std::vector<std::string> names;
  for (const Elf64_Sym& symbol : symbols) {
    if (symbol.st_shndx == SHN_UNDEF || symbol.st_name >= characters.size()) continue;
    names.emplace_back(characters.data() + symbol.st_name);
  }
  return names;
}

}  // namespace

std::vector<std::string> exported_names(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const auto header = read_at<Elf64_Ehdr>(file, 0, 1);
  if (header.empty() || header[0].e_shentsize != sizeof(Elf64_Shdr)) return {};
  const auto sections = read_at<Elf64_Shdr>(file, header[0].e_shoff, header[0].e_shnum);
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type == SHT_DYNSYM && section.sh_link < sections.size())
      return names_in(file, section, sections[section.sh_link]);
  }
  return {};
}

}  // namespace loader::host::aiges
