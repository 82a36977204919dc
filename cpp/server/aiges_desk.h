// The AIGES sessions of one shard by their handles, and what each operation does. Knows no
// connection: callers are askers, here or on another shard.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/aiges_error.h"
#include "server/aiges_front.h"
#include "server/aiges_handle.h"
#include "server/aiges_input.h"
#include "server/options.h"
#include "server/shard_context.h"

namespace loader::server {

class AigesResource;
class AigesStream;

// No queue: an AIGES client tries another node. But a slot that is being given back counts as free.
constexpr int64_t kAigesSlotWaitNs = 20'000'000;

class AigesDesk {
 public:
  AigesDesk(ShardContext& shard, uint32_t shard_count);
  ~AigesDesk();
  AigesDesk(const AigesDesk&) = delete;
  AigesDesk& operator=(const AigesDesk&) = delete;

  void set_options(const AigesOptions& options);
  // `bytes` is the whole ReqData of `request`. The answer comes now or later.
  void take(const XsfRequest& request, std::string_view bytes, const AigesCallerView& caller,
            AigesAsker& asker);
  // At the end of a round.
  void flush();
  bool is_flush_due() const { return !ready_.empty() || !dead_.empty() || is_one_over_; }

  // ---- for the fronts
  ShardContext& shard() { return shard_; }
  session::Shard& core() { return shard_.core(); }
  AigesInput& input() { return input_; }
  int64_t now_ns() const { return shard_.loop().now_ns(); }
  int64_t session_ttl_ns() const { return options_.session_ttl_ms * 1'000'000; }
  // Null: not a frame. Valid until the next call.
  const frame::FrameView* read_result(const session::MessageView& result);
  void answer(AigesAsker& asker, std::string_view handle, const LoaderOutputHead& head,
              std::string_view payloads);
  void answer_error(AigesAsker& asker, std::string_view handle, std::string_view service_id,
                    const AigesError& error);
  // Input that waits for its turn or for the engine, of all sessions.
  bool has_room_for(size_t bytes) const;
  void note_kept(ptrdiff_t change) { kept_bytes_ += static_cast<size_t>(change); }
  void mark_ready(AigesStream& stream) { ready_.push_back(&stream); }
  // The handle is void from now on; note_released(): it never was in the table.
  void forget(AigesStream& stream);
  void note_released(std::string_view handle);
  // A call about a resource has been answered.
  void mark_over() { is_one_over_ = true; }
  // The core is done with it.
  void retire(AigesFront& front);

 private:
  class Held;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };

  void take_input(const XsfRequest& request, std::string_view bytes, const AigesCallerView& caller,
                  AigesAsker& asker);
  void create(const XsfRequest& request, std::string_view bytes, const AigesCallerView& caller,
              AigesAsker& asker);
  void poll(const XsfRequest& request, const AigesCallerView& caller, AigesAsker& asker);
  void abort(const XsfRequest& request, AigesAsker& asker);
  void take_resource(const XsfRequest& request, const AigesCallerView& caller, AigesAsker& asker);
  enum class Taking { kNo, kYes, kUnknown };  // unknown: no instance has said yet
  Taking takes_resources(std::string_view engine) const;
  bool hold(const XsfRequest& request, std::string_view bytes, const AigesCallerView& caller,
            AigesAsker& asker);
  AigesError check_first() const;
  std::string_view only_engine() const;
  // Fills the admission's request; what is wrong, or nothing.
  std::optional<ErrorReport> admit(const AigesCallerView& caller, session::OpenRequest& out);
  void open_once(const XsfRequest& request, session::OpenRequest out, std::string handle,
                 const AigesCallerView& caller, AigesAsker& asker);
  void open_stream(const XsfRequest& request, session::OpenRequest out, std::string handle,
                   const AigesCallerView& caller, AigesAsker& asker);
  void refuse(AigesAsker& asker, std::string_view handle, const ErrorReport& error);
  void answer_unknown(AigesAsker& asker, std::string_view handle);
  AigesStream* find(std::string_view handle) const;
  bool was_released(std::string_view handle) const;
  int64_t answer_by(const XsfRequest& request, const AigesCallerView& caller) const;
  int64_t answer_by(const XsfRequest& request, const AigesCallerView& caller,
                    int64_t margin_ns) const;
  std::string own_or_new(std::string_view handle);
  template <class Front>
  Front& own(std::unique_ptr<Front> front);

  ShardContext& shard_;
  AigesOptions options_;
  AigesHandles handles_;
  std::string sess_;  // the encoded entry of every answer: this server's address
  AigesInput input_;
  frame::FrameView frame_;
  std::string head_;  // scratch
  std::vector<std::unique_ptr<AigesFront>> fronts_, dead_;
  std::vector<std::unique_ptr<Held>> held_;
  std::vector<std::unique_ptr<AigesResource>> resources_;
  bool is_one_over_ = false;  // of them
  std::unordered_map<std::string, AigesStream*, Hash, std::equal_to<>> streams_;
  std::vector<AigesStream*> ready_, flushing_;
  std::array<uint64_t, 1000> released_{};  // hashes of handles, a ring
  size_t released_at_ = 0;
  size_t kept_bytes_ = 0;
};

}  // namespace loader::server
