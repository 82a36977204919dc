// Every limit and timeout of a server, with its default. Plain data.
#pragma once

#include <cstddef>
#include <cstdint>

namespace loader::grpc {

struct Options {
  // ---- flow control
  uint32_t stream_window_bytes = 64 << 10;     // what a client may have unconsumed on one stream
  uint32_t connection_window_bytes = 4 << 20;  // given back on receipt: never a session's hostage
  size_t send_window_bytes = 4 << 10;          // queued_bytes() at which a producer should pause
  size_t max_unsent_bytes = 256 << 10;         // per connection, above which HTTP/2 is not asked
                                               // for more until the socket takes some
  // ---- messages
  uint32_t max_message_bytes = 4 << 20;  // received, compressed and inflated alike; over it: 8

  // ---- requests
  uint32_t max_concurrent_streams = 1024;  // per connection, counted until the handler finished
  uint32_t max_header_bytes = 16 << 10;    // sum of name + value + 32; over it: 8
  uint32_t max_header_fields = 128;
  int64_t max_deadline_ms = 0;  // caps the client's grpc-timeout and applies without one; 0: none

  // ---- connections
  uint32_t max_connections = 10'000;             // over it: accepted and closed
  uint32_t max_connections_per_address = 1'000;  // Unix sockets are not counted
  int64_t tls_handshake_timeout_ms = 10'000;
  int64_t preface_timeout_ms = 5'000;          // from accept to the client's SETTINGS
  int64_t settings_ack_timeout_ms = 20'000;    // for our SETTINGS
  int64_t header_timeout_ms = 10'000;          // an incomplete header block
  int64_t write_stall_timeout_ms = 30'000;     // bytes waiting, the socket takes none
  int64_t max_connection_idle_ms = 3'600'000;  // without a stream; 0: for ever
  int64_t max_connection_age_ms = 0;           // 0: for ever; +-10 % jitter
  int64_t max_connection_age_grace_ms = 0;     // 0: until the calls end
  int64_t linger_ms = 1'000;                   // after our FIN, before close()
  uint32_t max_lingering = 100;

  // ---- keepalive
  int64_t keepalive_time_ms = 7'200'000;       // without a byte received: we ping; 0: never
  int64_t keepalive_timeout_ms = 20'000;       // and close without an answer
  int64_t min_ping_interval_ms = 10'000;       // of the client with open streams
  int64_t min_idle_ping_interval_ms = 10'000;  // and without
  uint32_t max_ping_strikes = 2;               // one more: too_many_pings

  // ---- floods
  uint32_t max_settings_per_minute = 10;
  uint32_t max_idle_frames = 1'000;  // empty DATA, PRIORITY, tiny WINDOW_UPDATE, unknown, with no
                                     // message completed between
  uint32_t sent_reset_burst = 200;   // RST_STREAM a client provokes from us
  uint32_t sent_resets_per_second = 20;

  // ---- drain
  int64_t drain_ping_timeout_ms = 5'000;  // first to second GOAWAY if the PING goes unanswered
};

}  // namespace loader::grpc
