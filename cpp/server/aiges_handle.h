// Handles of AIGES sessions: 26 characters from which a client reads the address to dial for the
// rest of the session, and which shard owns a handle. Knows no sessions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace loader::server {

// The shard that keeps the session of this handle: the same answer on every shard. Handles that a
// client made up count, too.
uint32_t aiges_shard_of(std::string_view handle, uint32_t shard_count);

// Makes the handles of one shard; they are that shard's own.
class AigesHandles {
 public:
  AigesHandles(uint32_t shard, uint32_t shard_count);

  // "A.B.C.D:PORT": what the handles carry from now on. False: not such an address.
  bool set_address(std::string_view address);
  const std::string& address() const { return address_; }
  std::string make(int64_t unix_seconds);

 private:
  const uint32_t shard_, shard_count_;
  uint32_t counter_;
  std::string address_ = "127.0.0.1:0";
  uint32_t ip_ = 0x7f000001;
  uint16_t port_ = 0;
};

}  // namespace loader::server
