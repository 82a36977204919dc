// The gRPC method /utils.ToolBox/cmdserver: what a loader of AIGES tells load balancers about
// itself. Knows no sessions.
#pragma once

#include "grpc/router.h"

namespace loader::server {

class ShardContext;

void add_toolbox(grpc::Router& router, ShardContext& shard);

}  // namespace loader::server
