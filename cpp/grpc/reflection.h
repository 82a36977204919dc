// grpc.reflection.v1 and v1alpha as an ordinary handler, served from descriptors given as bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "grpc/router.h"

namespace loader::grpc {

// Adds both paths. `file_descriptor_sets` are serialised google.protobuf.FileDescriptorSet with
// all imports (protoc --descriptor_set_out --include_imports); a file may appear in several. The
// health and reflection protos are included by the library. `list_services` names the services of
// `router` at the time of the call plus reflection itself; call this last.
// Throws std::invalid_argument when the bytes do not parse or an import is missing.
void add_reflection(Router& router, const std::vector<std::string_view>& file_descriptor_sets);

}  // namespace loader::grpc
