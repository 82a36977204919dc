// The names that a shared library exports, read from its file: what dlsym cannot be asked for
// because one does not know the name. Knows ELF; refuses to know what the names mean.
#pragma once

#include <string>
#include <vector>

namespace loader::host::aiges {

// Names of the defined dynamic symbols of a 64-bit ELF file. Empty where it has no section headers
// or they are not sound: then there is nothing to say.
std::vector<std::string> exported_names(const std::string& file);

}  // namespace loader::host::aiges
