// The error codes of AIGES, and what ours are among them. Knows no sessions.
#pragma once

#include <cstdint>
#include <string>

#include "server/error_table.h"
#include "session/ports.h"

namespace loader::server {

enum AigesCode : int32_t {
  kAigesInvalidOp = 10003,
  kAigesInvalidMode = 10004,
  kAigesInvalidHandle = 10008,
  kAigesInvalidData = 10009,
  kAigesSessionTimeout = 10019,
  kAigesInactive = 10101,
  kAigesOnceTimeout = 10102,
  kAigesInvalid = 10106,  // a parameter, or what the engine returned
  kAigesCrash = 10109,
  kAigesNoLicence = 10110,
  kAigesUnmarshal = 10401,
  kAigesLoadResource = 10903,
  kAigesUnloadResource = 10904,
  kAigesCreate = 10905,
  kAigesWrite = 10907,
  kAigesExec = 10909,
};

struct AigesError {
  int32_t code = 0;  // 0: none
  std::string text;

  bool is_set() const { return code != 0; }
};

// `kind` decides between the codes of exec and of write.
AigesError to_aiges_error(const ErrorReport& error, session::Kind kind);
AigesError to_aiges_error(const session::SessionError& error, session::Kind kind);

}  // namespace loader::server
