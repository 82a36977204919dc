// The seam where a call is allowed or refused before its handler exists. Knows no sessions.
#pragma once

#include <string>
#include <string_view>

#include "grpc/call.h"
#include "server/error_table.h"

namespace loader::server {

enum ListenerTag : int { kPublicListener = 0, kAdminListener = 1 };

// Called on shard threads, several at once. `engine` is empty before the request has been read.
// What is wrong (UNAUTHENTICATED, PERMISSION_DENIED), or an empty report.
class Authorizer {
 public:
  virtual ~Authorizer() = default;
  virtual ErrorReport allow(const grpc::Peer& peer, const grpc::Metadata& metadata,
                            std::string_view path, std::string_view engine) const = 0;
};

// The default. Engines and health for everybody the listener lets in; administration and reflection
// on loopback, on the admin listener, and for clients that a certificate has authenticated.
class LoopbackAuthorizer : public Authorizer {
 public:
  ErrorReport allow(const grpc::Peer& peer, const grpc::Metadata& metadata, std::string_view path,
                    std::string_view engine) const override;
};

bool is_admin_peer(const grpc::Peer& peer);

}  // namespace loader::server
