#include "server/authorizer.h"

namespace loader::server {

bool is_admin_peer(const grpc::Peer& peer) {
  bool is_authenticated = !peer.tls_identity.empty();
  return peer.listener_tag == kAdminListener || peer.is_loopback || is_authenticated;
}

ErrorReport LoopbackAuthorizer::allow(const grpc::Peer& peer, const grpc::Metadata&,
                                      std::string_view path, std::string_view) const {
  bool is_guarded =
      path.starts_with("/loader.v1.AdminService/") || path.starts_with("/grpc.reflection.");
  if (!is_guarded || is_admin_peer(peer)) return {};
  return {ErrorCode::ADMIN_NOT_ALLOWED,
          std::string(path) +
              " answers on loopback, on admin_listen, or to a client whose certificate names it "
              "(tls.client_ca); this call came from " +
              peer.address,
          0,
          {}};
}

}  // namespace loader::server
