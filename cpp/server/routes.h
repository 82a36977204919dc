// The methods that a shard serves: LoaderService, AdminService, those of AIGES clients, health,
// reflection.
#pragma once

#include <memory>

#include "grpc/router.h"

namespace loader::server {

class ShardContext;

std::shared_ptr<const grpc::Router> make_router(ShardContext& shard);

}  // namespace loader::server
