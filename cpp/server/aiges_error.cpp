#include "server/aiges_error.h"

namespace loader::server {
namespace {

// Codes that an AIGES engine says itself: the adapters pass them with their text.
bool is_aiges_code(int32_t code) {
  return (code >= 10901 && code <= 10910) || (code >= 30001 && code <= 30003);
}

int32_t code_of(ErrorCode error, session::Kind kind) {
  const bool is_exec = kind == session::Kind::kExec;
  switch (error) {
#define LOADER_AIGES_ROW(name, of_session, of_exec) \
  case ErrorCode::name:                             \
    return is_exec ? of_exec : of_session;
#include "server/aiges_codes.def"
#undef LOADER_AIGES_ROW
    default:
      return kAigesCrash;
  }
}

AigesError make(ErrorCode error, std::string_view message, int32_t engine_code,
                std::string_view engine_message, session::Kind kind) {
  if (error == ErrorCode::kNone) return {};
  if (is_aiges_code(engine_code)) return {engine_code, std::string(engine_message)};
  AigesError out{code_of(error, kind), std::string(message)};
  if (engine_code != 0) {
    out.text = std::string(engine_message) + ";code=" + std::to_string(engine_code);
  } else if (out.code == kAigesNoLicence) {
    // The text of AIGES first: clients show it.
    out.text = "service license not enough: " + out.text;
  }
  return out;
}

}  // namespace

AigesError to_aiges_error(const ErrorReport& error, session::Kind kind) {
  return make(error.code, error.message, error.engine_code, error.engine_message, kind);
}

AigesError to_aiges_error(const session::SessionError& error, session::Kind kind) {
  std::string_view message = error.message;
  if (message.empty()) message = error.engine_message;
  if (message.empty()) message = error_row(error.code).text;
  return make(error.code, message, error.engine_code, error.engine_message, kind);
}

}  // namespace loader::server
