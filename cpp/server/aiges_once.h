// One-shot calls of AIGES clients: an exec of the core, answered when it is final. Knows no
// sessions.
#pragma once

#include "server/aiges_contract.h"
#include "server/aiges_front.h"

namespace loader::server {

class AigesDesk;

class AigesOnce final : public AigesFront {
 public:
  AigesOnce(AigesDesk& desk, std::string handle, const LoaderInput& input, std::string peer,
            AigesAsker& asker);

  // Everything but the front is set. The answer may come before it returns.
  void start(session::OpenRequest request);
  void leave(AigesAsker& asker) override;
  void on_result(session::SessionId id, const session::MessageView& result) override;
  void on_final(session::SessionId id, const session::FinalView& final) override;

 private:
  void break_off(session::SessionId id, ErrorCode code, std::string_view message);

  AigesDesk& desk_;
  AigesAsker* asker_;
  AigesContract contract_;
  AigesPackage package_;
  session::SessionId id_ = 0;
};

}  // namespace loader::server
