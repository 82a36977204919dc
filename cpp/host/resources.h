// A personal resource on its way from a record to the engine. Refuses to know who may name it
// (resource_table.h).
#pragma once

#include <cstdint>
#include <span>

#include "host/engine.h"
#include "host/input.h"
#include "host/outcome.h"

namespace loader::host {

// `bytes`, inside `block`, are a frame of one item: the engine's load gets that.
Outcome give_resource(Engine& engine, uint32_t id, InputBlock& block,
                      std::span<const uint8_t> bytes);

}  // namespace loader::host
