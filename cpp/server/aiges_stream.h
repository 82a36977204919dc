// A session of an AIGES client, which comes and goes call by call on any connection: orders its
// input, keeps its results under the session's credit until somebody fetches them, lets polls wait.
// Knows no wire and no other session.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "loop/event_loop.h"
#include "server/aiges_contract.h"
#include "server/aiges_error.h"
#include "server/aiges_front.h"
#include "server/aiges_order.h"

namespace loader::server {

class AigesDesk;

class AigesStream final : public AigesFront {
 public:
  AigesStream(AigesDesk& desk, std::string handle, const LoaderInput& input, std::string peer,
              session::EngineId engine);

  // ---- calls; each answers the asker, now or later. `input` is the desk's parsed package, whose
  // bytes are `bytes`.
  void start(session::OpenRequest request, std::string_view bytes, AigesAsker& asker);
  void take_input(std::string_view bytes, int64_t answer_by_ns, AigesAsker& asker);
  void poll(int64_t answer_by_ns, AigesAsker& asker);
  void abort();
  // The package of a call cannot be read: the session is over.
  void refuse_input(AigesError error, AigesAsker& asker);

  // At the end of a round: answers who waits for what has come.
  void flush();
  const std::string& handle() const { return handle_; }

  void leave(AigesAsker& asker) override;
  void on_opened(session::SessionId id) override;
  void on_result(session::SessionId id, const session::MessageView& result) override;
  void on_input_credit(session::SessionId id, uint64_t window_bytes) override;
  void on_final(session::SessionId id, const session::FinalView& final) override;

 private:
  enum class Wants : uint8_t { kOpen, kRoom, kOutput };
  struct Waiting {
    AigesAsker* asker;
    int64_t answer_by_ns;
    Wants wants;
  };
  struct Stream {
    std::string name;
    bool has_ended;
  };

  bool has_output() const { return !output_.empty() || is_final_ || error_.is_set(); }
  bool is_due(const Waiting& waiting) const;
  void wait(AigesAsker& asker, int64_t answer_by_ns, Wants wants);
  void answer_waiting(std::vector<Waiting>::iterator at);
  void answer_open(AigesAsker& asker);
  void answer(AigesAsker& asker);
  void answer_package(AigesAsker& asker);
  void answer_rest(const AigesError& error);

  void write(std::string_view bytes);
  bool try_write();
  void write_kept();
  void write_next();
  bool has_room_for(size_t bytes) const;
  void note_kept();
  void keep_input(std::string_view bytes);
  void note_ends();
  void end_input();

  void mark_ready();
  void fail(AigesError error, ErrorCode code);
  void close(const session::Cause& cause);
  void release();
  void arm();
  void fire();

  AigesDesk& desk_;
  const session::EngineId engine_id_;
  session::SessionId id_ = 0;
  AigesContract contract_;
  AigesOrder order_;
  std::deque<std::string> kept_;  // packages whose turn has come, which the engine has no room for
  size_t kept_bytes_ = 0;
  size_t noted_bytes_ = 0;  // of this session, in the desk's count
  std::vector<Stream> streams_;
  std::deque<AigesPackage> output_;
  std::vector<Waiting> waiting_;
  AigesError error_;  // how it ended
  Timer timer_;
  int64_t last_call_ns_;
  bool is_opened_ = false;
  bool is_input_ended_ = false;
  bool is_output_ended_ = false;  // a final package came: nothing after it
  bool is_final_ = false;         // the core has said its last word
  bool is_released_ = false;      // the handle is void
  bool is_ready_ = false;
};

}  // namespace loader::server
