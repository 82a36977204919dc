// What an application sees of one gRPC call: `Call` is the library's half, `CallHandler` the
// application's. Knows nothing of connections; a test may implement Call itself.
//
// Who owns whom, in five sentences.
//  1. The library owns both: the method's factory makes a CallHandler for a Call, and the library
//     destroys it, exactly once, on the loop thread, never while one of its functions runs.
//  2. Both live until the handler has called Call::finish(); also after on_cancel(), when finish()
//     says that the work behind the call has ended (until then it counts against the stream limit).
//  3. After finish() returns, use the Call no more; the handler's destructor runs at the end of
//     the same loop round (or, if finish() ran inside a callback, after that callback).
//  4. The one exception: ~Server destroys handlers that never finished; a destructor therefore
//     never touches its Call.
//  5. Everything happens on the loop thread of the call's Server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "grpc/metadata.h"
#include "grpc/status.h"

namespace loader::grpc {

class Server;

// Where a call comes from. Lives as long as its Call.
struct Peer {
  std::string address;       // "127.0.0.1:5000", "[::1]:5000" or "unix:"
  bool is_loopback = false;  // 127/8, ::1 or a Unix socket
  bool is_unix = false;
  bool is_tls = false;
  // First URI (SPIFFE) or DNS name of the verified client certificate; empty without one.
  std::string tls_identity;
  int listener_tag = 0;  // ListenOptions::tag of the listener that accepted it
};

// Bytes that live elsewhere (shared memory) and are sent from there. `release` runs exactly once,
// on the loop thread: when the kernel has taken the last byte, or when the call will not send it.
class Payload {
 public:
  using Release = void (*)(void* context, uint64_t cookie);
  Payload() = default;
  Payload(const void* data, size_t size, Release release, void* context, uint64_t cookie = 0)
      : data_(static_cast<const char*>(data)),
        size_(size),
        release_(release),
        context_(context),
        cookie_(cookie) {}
  Payload(Payload&& o) noexcept { swap(o); }
  Payload& operator=(Payload&& o) noexcept {
    Payload moved(std::move(o));
    swap(moved);
    return *this;
  }
  ~Payload() {
    if (release_ != nullptr) release_(context_, cookie_);
  }
  const char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void swap(Payload& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    std::swap(release_, o.release_);
    std::swap(context_, o.context_);
    std::swap(cookie_, o.cookie_);
  }
  const char* data_ = nullptr;
  size_t size_ = 0;
  Release release_ = nullptr;
  void* context_ = nullptr;
  uint64_t cookie_ = 0;
};

// One complete message from the client, inflated if it was compressed.
class Message {
 public:
  // `owned` is the assembled body, or null when `bytes` is a view of the read buffer.
  Message(std::string_view bytes, std::string* owned, bool was_compressed, size_t window_bytes)
      : bytes_(bytes),
        owned_(owned),
        window_bytes_(window_bytes),
        was_compressed_(was_compressed) {}

  // Valid until on_message() returns.
  std::string_view bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  // The bytes for keeps: moved when the library had assembled or inflated them, else copied. Ends
  // the validity of bytes().
  std::string take();
  bool was_compressed() const { return was_compressed_; }
  // What the message holds of the stream's window, inflated or as sent, whichever is more: hand it
  // to Call::consume() once it is used up.
  size_t window_bytes() const { return window_bytes_; }

 private:
  std::string_view bytes_;
  std::string* owned_;
  size_t window_bytes_;
  bool was_compressed_;
};

enum class CancelReason {
  kClientReset,     // RST_STREAM: the client cancelled
  kConnectionLost,  // end of file, socket or TLS error, keepalive failure, protocol violation
  kDeadline,        // grpc-timeout is over; the client has been told status 4
  kProtocol,        // the library refused the client's bytes and has sent the status itself
  kDrain,           // the drain deadline is over; the client has been told status 14
  kServerClosing,   // Server::close_now()
};

// The application's side of one call. Functions run on the loop thread. An exception that leaves
// one of them ends the call with UNKNOWN.
class CallHandler {
 public:
  virtual ~CallHandler() = default;

  // A complete message. On unary and server-streaming methods exactly one comes before
  // on_half_close(); the library has checked that, except that on_message() of such a method is
  // called as soon as the message is complete, before END_STREAM is seen.
  virtual void on_message(Message& message) = 0;
  // The client will send no more messages.
  virtual void on_half_close() {}
  // The library is about to end the call with `status`: the deadline is over, what the client sent
  // is refused, or the server closes. Everything may still be sent: a handler with last words says
  // them and calls finish() here, with a status of its own. If it does not, `status` is sent and
  // on_cancel() follows.
  virtual void on_ending(const Status& status, CancelReason reason) {
    static_cast<void>(status);
    static_cast<void>(reason);
  }
  // The call is over for the client; at most once, and not after finish(). Nothing can be sent any
  // more: sends return false. Call finish() (any status) once the work behind it has ended; it may
  // be called right here.
  virtual void on_cancel(CancelReason reason) = 0;
  // queued_bytes() has fallen to half of Options::send_window_bytes or below after it had reached
  // the window.
  virtual void on_writable() {}

 protected:
  friend struct CallHandlerRelease;
  // How the library ends the handler's life. Override to return it to a pool.
  virtual void destroy() { delete this; }
};

struct CallHandlerRelease {
  void operator()(CallHandler* handler) const { handler->destroy(); }
};
using CallHandlerPtr = std::unique_ptr<CallHandler, CallHandlerRelease>;

template <class T, class... Args>
CallHandlerPtr make_handler(Args&&... args) {
  return CallHandlerPtr(new T(std::forward<Args>(args)...));
}

using Parts = std::span<const std::string_view>;

class Call {
 public:
  virtual ~Call() = default;

  // ---- the request; all views live as long as the call
  virtual std::string_view path() const = 0;       // "/package.Service/Method"
  virtual std::string_view authority() const = 0;  // may be empty
  virtual std::string_view user_agent() const = 0;
  virtual const Metadata& metadata() const = 0;
  virtual const Peer& peer() const = 0;
  // Monotonic (EventLoop clock), INT64_MAX without a deadline. The library enforces it.
  virtual int64_t deadline_ns() const = 0;
  virtual Server& server() = 0;
  // Unique within the server, never reused.
  virtual uint64_t id() const = 0;

  // ---- the response. Every send only queues: the connection is written once at the end of the
  // loop round, from whatever callback, timer or descriptor the send came.

  // Sends the response headers now. Needed only for custom metadata or to show the client that the
  // call is accepted: bidi and client-streaming calls send theirs when the factory returns, other
  // calls with the first message. False if they had gone or the call is over.
  virtual bool send_headers(const Metadata& metadata = {}) = 0;

  // Sends one message: the parts back to back, copied once. Does not allocate in steady state.
  // `compress` asks for gzip, which happens only if the client accepts it. False (and nothing
  // sent) when the call is finished or cancelled.
  virtual bool send_message(Parts parts, bool compress = false) = 0;
  bool send_message(std::string_view bytes, bool compress = false) {
    return send_message(Parts(&bytes, 1), compress);
  }
  bool send_message(std::initializer_list<std::string_view> parts, bool compress = false) {
    return send_message(Parts(parts.begin(), parts.size()), compress);
  }
  // Sends one message: head, payload, tail. The payload is not copied (on TLS it is); worth it
  // from about 64 KiB up.
  virtual bool send_message(Parts head, Payload payload, Parts tail = {}) = 0;

  // Bytes of messages accepted and not yet handed to HTTP/2. Nothing is ever refused for size: a
  // producer stops by itself at Options::send_window_bytes and waits for on_writable().
  virtual size_t queued_bytes() const = 0;

  // Ends the call; see the ownership rules above. Messages queued are still sent, in order, before
  // the status. On a unary or client-streaming method an OK without exactly one message becomes
  // INTERNAL. Throws std::invalid_argument for metadata that may not be sent.
  virtual void finish(const Status& status, const Metadata& trailers = {}) = 0;
  void finish() { finish(Status{}); }

  // ---- flow control
  // Gives stream window back to the client, normally Message::window_bytes() of a message that is
  // used up. Only complete messages hold window; until it is handed back the client can send at
  // most one stream window more, of which compressed messages are not even inflated. Not needed on
  // methods with `is_auto_consume`.
  virtual void consume(size_t bytes) = 0;

  // Has the call been cancelled (on_cancel() delivered or about to be)?
  virtual bool is_cancelled() const = 0;
};

}  // namespace loader::grpc
