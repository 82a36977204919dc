// Who may administrate, also where a machine has no address but loopback to try it from.
#include "server/authorizer.h"

#include <gtest/gtest.h>

namespace loader::server {
namespace {

grpc::Peer somewhere_else() {
  grpc::Peer peer;
  peer.address = "203.0.113.7:5000";
  return peer;
}

bool is_allowed(const grpc::Peer& peer, std::string_view path) {
  ErrorReport report = LoopbackAuthorizer().allow(peer, {}, path, {});
  if (report.is_set()) {
    EXPECT_EQ(report.code, ErrorCode::ADMIN_NOT_ALLOWED);
  }
  return !report.is_set();
}

constexpr std::string_view kGuarded[] = {
    "/loader.v1.AdminService/Drain", "/loader.v1.AdminService/WatchEvents",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"};

// From elsewhere, engines and health answer and nothing else does.
TEST(Authorizer, StrangersMayCallEnginesOnly) {
  for (std::string_view path : kGuarded) EXPECT_FALSE(is_allowed(somewhere_else(), path)) << path;
  EXPECT_TRUE(is_allowed(somewhere_else(), "/loader.v1.LoaderService/Session"));
  EXPECT_TRUE(is_allowed(somewhere_else(), "/grpc.health.v1.Health/Check"));
}

// Each way in is enough by itself.
TEST(Authorizer, LoopbackTheAdminListenerAndACertificateMayAdministrate) {
  grpc::Peer near = somewhere_else(), admin = somewhere_else(), named = somewhere_else();
  near.is_loopback = true;
  admin.listener_tag = kAdminListener;
  named.tls_identity = "spiffe://test/operator";
  for (std::string_view path : kGuarded) {
    for (const grpc::Peer& peer : {near, admin, named}) EXPECT_TRUE(is_allowed(peer, path)) << path;
  }
}

// TLS says who the server is; who the client is, only its certificate says.
TEST(Authorizer, EncryptionAloneIsNoAuthentication) {
  grpc::Peer peer = somewhere_else();
  peer.is_tls = true;
  for (std::string_view path : kGuarded) EXPECT_FALSE(is_allowed(peer, path)) << path;
}

}  // namespace
}  // namespace loader::server
