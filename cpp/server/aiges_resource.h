// AILoad and AIUnLoad for an engine that takes personal resources: LoadResource and UnloadResource
// of AdminService, asked of the control plane, and its answer as an AIGES client reads it. Knows no
// sessions.
#pragma once

#include <string>
#include <string_view>

#include "loop/event_loop.h"
#include "server/admin_desk.h"
#include "server/aiges_front.h"
#include "server/aiges_wire.h"

namespace loader::server {

class AigesDesk;

class AigesResource final : public AdminAsker, public AigesPlace {
 public:
  AigesResource(AigesDesk& desk, std::string handle, std::string service_id, bool is_load,
                AigesAsker& asker);
  ~AigesResource();
  AigesResource(const AigesResource&) = delete;
  AigesResource& operator=(const AigesResource&) = delete;

  // It says which resource: else there is nothing to do.
  static bool is_said(const LoaderInput& input, bool is_load);

  // Asks for what `input` says. An unload is told by `by_ns` that it waits for sessions;
  // everything is answered by `latest_ns`, whatever the control plane does.
  void start(const LoaderInput& input, std::string_view engine, const AigesCallerView& caller,
             int64_t by_ns, int64_t latest_ns);
  bool is_over() const { return asker_ == nullptr; }

 private:
  void answer(const std::string& payload) override;
  void finish(const ErrorReport& error) override;
  void leave(AigesAsker& asker) override;

  AigesDesk& desk_;
  const std::string handle_;
  const std::string service_id_;
  const bool is_load_;
  AigesAsker* asker_;
  uint64_t call_ = 0;
  std::string id_;  // of an unload, as it was asked for
  Timer timer_;
};

}  // namespace loader::server
