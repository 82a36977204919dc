// Sums the shards' counters into one snapshot. Reads only; each shard's part on its own thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/server.h"
#include "server/shard_context.h"

namespace loader::server {

void add_shard(Statistics& out, ShardContext& shard);
void add_sessions(std::vector<SessionInfo>& out, ShardContext& shard, const std::string& engine);

}  // namespace loader::server
