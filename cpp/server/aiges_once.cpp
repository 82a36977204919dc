#include "server/aiges_once.h"

#include "loader/wrapper.h"
#include "server/aiges_desk.h"

namespace loader::server {

AigesOnce::AigesOnce(AigesDesk& desk, std::string handle, const LoaderInput& input,
                     std::string peer, AigesAsker& asker)
    : AigesFront(std::move(handle), input.service_id, std::move(peer)),
      desk_(desk),
      asker_(&asker) {
  contract_.set(input);
  asker.place = this;
  package_.status = AigesStatus::kBegin;
}

void AigesOnce::start(session::OpenRequest request) {
  request.kind = session::Kind::kExec;
  request.front = this;
  id_ = desk_.core().open(request);
}

void AigesOnce::leave(AigesAsker&) {
  asker_ = nullptr;
  session::Cause cause;
  cause.reason = LOADER_REASON_CLIENT_GONE;
  desk_.core().cancel(id_, cause);
}

void AigesOnce::break_off(session::SessionId id, ErrorCode code, std::string_view message) {
  session::Cause cause;
  cause.reason = LOADER_REASON_ENGINE_ERROR;
  cause.error = code;
  cause.message = message;
  desk_.core().cancel(id, cause);
}

void AigesOnce::on_result(session::SessionId id, const session::MessageView& result) {
  const frame::FrameView* frame = desk_.read_result(result);
  if (frame == nullptr) {
    return break_off(id, ErrorCode::BAD_RESULT,
                     "the engine emitted something that is not a valid frame; see its log");
  }
  if (const char* wrong = contract_.append(*frame, true, package_)) {
    return break_off(id, ErrorCode::BAD_RESULT, wrong);
  }
  if (package_.payloads.size() > desk_.shard().plane().options.exec_response_bytes) {
    return break_off(id, ErrorCode::MESSAGE_TOO_LARGE,
                     "the results of this call are too large for one message");
  }
  desk_.core().result_consumed(id, result.size_bytes());
}

void AigesOnce::on_final(session::SessionId, const session::FinalView& final) {
  if (AigesAsker* asker = std::exchange(asker_, nullptr)) {
    asker->place = nullptr;
    const AigesError error = to_aiges_error(final.error, session::Kind::kExec);
    if (error.is_set()) {
      desk_.answer_error(*asker, handle_, service_id_, error);
    } else {
      if (!package_.is_final()) package_.status = AigesStatus::kOnce;
      desk_.answer(*asker, handle_, {service_id_, 0, {}, package_.status}, package_.payloads);
    }
  }
  desk_.note_released(handle_);
  desk_.retire(*this);
}

}  // namespace loader::server
