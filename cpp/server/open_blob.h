// Parameters and metadata of a call on their way through the session core, which keeps them as
// opaque bytes until a slot is free: u32 counts, then texts with u32 sizes. Both ends are in this
// process.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "channel/bodies.h"
#include "server/envelope.h"

namespace loader::server {

void append_open_blob(std::string& out, std::span<const TextPair> parameters,
                      std::span<const TextPair> metadata);
// Fills parameters and metadata of `out` with views into `blob`.
void read_open_blob(std::span<const uint8_t> blob, channel::OpenBody& out);

}  // namespace loader::server
