/*
 * The wrapper ABI: what an engine author implements and what the host offers in return.
 * C11, <stdint.h> only. This file is the contract; wrapper.hpp is a C++17 layer over it.
 *
 * A wrapper is a shared library that exports one function, `loader_wrapper`, which returns a
 * constant table. The host checks the table, calls `init` once, and then opens sessions
 * (create, write*, end, destroy) and runs one-shot calls (exec). Results are emitted, never polled.
 *
 * Versions. Major differs: the host refuses the library before any other call. Minor differs: each
 * side uses only the members inside the other's `struct_size`; a NULL entry means "not supported".
 * The first three fields of the table are frozen for ever. What was appended says `since 1.n`.
 *
 * Ownership. Whoever allocates releases. A buffer carries `release`; NULL there means "borrowed,
 * moved or empty". Taking a buffer out of a frame: copy the struct, set the source's `release` to
 * NULL, and call your copy's `release` once when done. Everything else a call hands over is valid
 * until that call returns, except where the comment says otherwise.
 *
 * Contract lines. Each function's comment ends in one line that tools check:
 *   [thread: main|session|any]   main: the host's main thread; session: any thread, but calls of one
 *                                session (or one exec) never overlap; any: any thread at any time
 *   [when: loaded|ready|open]    loaded: before init or after fini; ready: between init and fini;
 *                                open: while the session or the call exists
 *   [blocks: no|yes]             yes: it may take as long as the configuration's timeouts allow
 *   [owns: caller|callee]        who owns the buffers that are passed, once the function returned
 */
#ifndef LOADER_WRAPPER_H
#define LOADER_WRAPPER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOADER_ABI_MAJOR 1u
#define LOADER_ABI_MINOR 1u
#define LOADER_WRAPPER_SYMBOL "loader_wrapper"

/* ---- status: 0 success, negative ours, positive the wrapper's own --------------------------- */

typedef int32_t loader_status_t;

enum {
  LOADER_OK = 0,
  LOADER_PENDING = -1, /* not an error: emit and finish follow */
  LOADER_AGAIN = -2,   /* not an error: no credit now, try later or emit without NOWAIT */
  LOADER_ERROR_CLOSED = -3,      /* the session or call is over: stop working for it */
  LOADER_ERROR_ARGUMENT = -4,    /* a struct, size or handle that cannot be right */
  LOADER_ERROR_UNSUPPORTED = -5, /* not offered by this side */
  LOADER_ERROR_MEMORY = -6,      /* no memory */
  LOADER_ERROR_INVALID_INPUT = -7, /* the client sent what this engine cannot accept */
  LOADER_ERROR_INTERNAL = -8,      /* the wrapper failed and has no number of its own for it */
  LOADER_ERROR_UNAVAILABLE = -9    /* the wrapper cannot serve now; another instance may */
};

/* ---- values ---------------------------------------------------------------------------------- */

/* UTF-8, not necessarily NUL-terminated; data may be NULL when size is 0. */
typedef struct loader_string {
  const char* data;
  uint64_t size;
} loader_string_t;

typedef struct loader_pair {
  loader_string_t key;
  loader_string_t value;
} loader_pair_t;

/* Bytes with an owner. `release` is called exactly once by whoever holds the struct last. */
typedef struct loader_buffer {
  const uint8_t* data;
  uint64_t size;
  void (*release)(struct loader_buffer* self);
  void* private_data;
} loader_buffer_t;

/* What an item is. Same numbers as `loader.v1.ItemType`. */
enum {
  LOADER_ITEM_BYTES = 1,
  LOADER_ITEM_TEXT = 2, /* UTF-8 */
  LOADER_ITEM_JSON = 3, /* UTF-8 */
  LOADER_ITEM_AUDIO = 4,
  LOADER_ITEM_IMAGE = 5,
  LOADER_ITEM_VIDEO = 6,
  LOADER_ITEM_TENSOR = 7 /* row-major, native little-endian */
};

/* Where an item stands in its stream. Same numbers as `loader.v1.ItemStatus`. */
enum {
  LOADER_STATUS_UNSPECIFIED = 0,
  LOADER_STATUS_BEGIN = 1,
  LOADER_STATUS_CONTINUE = 2,
  LOADER_STATUS_END = 3,
  LOADER_STATUS_ONCE = 4
};

/* Element type of a tensor. Same numbers as `loader.v1.DataType`. */
enum {
  LOADER_TYPE_NONE = 0,
  LOADER_TYPE_BOOL = 1,
  LOADER_TYPE_UINT8 = 2,
  LOADER_TYPE_UINT16 = 3,
  LOADER_TYPE_UINT32 = 4,
  LOADER_TYPE_UINT64 = 5,
  LOADER_TYPE_INT8 = 6,
  LOADER_TYPE_INT16 = 7,
  LOADER_TYPE_INT32 = 8,
  LOADER_TYPE_INT64 = 9,
  LOADER_TYPE_FP16 = 10,
  LOADER_TYPE_FP32 = 11,
  LOADER_TYPE_FP64 = 12,
  LOADER_TYPE_BF16 = 13
};

/* Keyed data. Read frames through `item_size`, the stride: later minors append fields. */
typedef struct loader_item {
  loader_string_t key;
  loader_buffer_t data;
  const int64_t* shape; /* dim_count entries; tensors only */
  const loader_pair_t* attributes;
  uint32_t type;      /* LOADER_ITEM_* */
  uint32_t status;    /* LOADER_STATUS_* */
  uint32_t data_type; /* LOADER_TYPE_*; tensors only */
  uint32_t dim_count;
  uint32_t attribute_count;
  uint32_t reserved; /* 0 */
} loader_item_t;

/* One message of a session or call: an ordered list of items; keys may repeat. */
typedef struct loader_frame {
  uint32_t struct_size;
  uint32_t item_size; /* sizeof(loader_item_t) of whoever filled the frame */
  uint32_t item_count;
  uint32_t reserved; /* 0 */
  uint64_t seq;      /* in: counts from 1 in a session; out: filled by the host, set 0 */
  int64_t position;  /* out: how much input this result covers, in the engine's unit; -1: not given */
  loader_item_t* items;
} loader_frame_t;

/* The caller's room for an error text. The callee writes at most `capacity` bytes, sets `size`. */
typedef struct loader_error {
  uint32_t struct_size;
  uint32_t capacity;
  uint32_t size;
  uint32_t reserved; /* 0 */
  char* message;     /* UTF-8 */
} loader_error_t;

/* What `init` and the live-update extension receive. */
typedef struct loader_config {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  loader_string_t engine;    /* the engine's name in the service */
  loader_string_t version;   /* the engine's version in the service */
  loader_string_t directory; /* absolute path of the wrapper's folder */
  loader_string_t json;      /* the engine's `config` as a JSON object */
  uint32_t slots;            /* open sessions plus running execs, at most */
  uint32_t threads;          /* calls running at once, but for those that wait in emit or have */
} loader_config_t;

/* What `create` and `exec` know of their caller. */
typedef struct loader_open {
  uint32_t struct_size;
  uint32_t parameter_count;
  const loader_pair_t* parameters; /* values as JSON: 16000, "en", true */
  const loader_pair_t* metadata;   /* what the caller attached: labels, trace context */
  uint32_t metadata_count;
  uint32_t reserved;          /* 0 */
  loader_string_t session_id; /* for logs; unique in the service */
} loader_open_t;

/* Names a session, an exec or a running call on the host's side. Never reused: a late one is refused. */
typedef uint64_t loader_handle_t;

/* Why a session ended, for `cancel` and `destroy`. Same numbers as `loader.v1.CloseReason`. */
enum {
  LOADER_REASON_UNSPECIFIED = 0,
  LOADER_REASON_FINISHED = 1,
  LOADER_REASON_CLIENT_CANCEL = 2,
  LOADER_REASON_CLIENT_GONE = 3,
  LOADER_REASON_DEADLINE = 4,
  LOADER_REASON_IDLE_TIMEOUT = 5,
  LOADER_REASON_ENGINE_ERROR = 6,
  LOADER_REASON_CALL_HUNG = 7,
  LOADER_REASON_HOST_DIED = 8,
  LOADER_REASON_DRAIN = 9,
  LOADER_REASON_REPLACED = 10,
  LOADER_REASON_KICKED = 11,
  LOADER_REASON_LOADER_GONE = 12,
  LOADER_REASON_CREATE_FAILED = 13,
  LOADER_REASON_ADMISSION = 14,
  LOADER_REASON_PROTOCOL = 15
};

/* ---- what the host offers --------------------------------------------------------------------- */

enum {
  LOADER_EMIT_NOWAIT = 1u /* return LOADER_AGAIN instead of waiting for credit */
};

enum { LOADER_LOG_DEBUG = 10, LOADER_LOG_INFO = 20, LOADER_LOG_WARNING = 30, LOADER_LOG_ERROR = 40 };

/* Handed to `init`; valid until `fini` returned. `host` is the first argument of each entry. */
typedef struct loader_host {
  uint32_t abi_major;
  uint32_t abi_minor;
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  void* host;

  /* Sends one result of a session or exec. LOADER_OK: the host owns the frame's buffers and calls
   * their `release`, perhaps later and from another thread. Any other status: they stay the
   * caller's. Waits for credit unless LOADER_EMIT_NOWAIT is set. Strings, shape and attributes are
   * copied. LOADER_ERROR_CLOSED tells the engine to stop working for this session. An engine that
   * declares non_blocking and runs inside the loader never waits inside an entry: one more window
   * of results is kept for it, then it gets LOADER_AGAIN. A result of more than 256 MiB is refused
   * with LOADER_ERROR_ARGUMENT.
   * [thread: any] [when: open] [blocks: yes] [owns: callee] */
  loader_status_t (*emit)(void* host, loader_handle_t handle, loader_frame_t* frame, uint32_t flags);

  /* Memory for one result, where possible in the memory shared with the loader, so that the result
   * is written once, in place, and never copied. Fill it, put it into an item, emit it; or release it.
   * More than 256 MiB: LOADER_ERROR_ARGUMENT; no memory: LOADER_ERROR_MEMORY.
   * [thread: any] [when: open] [blocks: no] [owns: caller] */
  loader_status_t (*alloc_result)(void* host, loader_handle_t handle, uint64_t size,
                                  loader_buffer_t* out, uint8_t** writable);

  /* Ends a call that returned LOADER_PENDING, exactly once. `status` as an entry would return it;
   * `message` may be NULL. A second finish, or one without PENDING, returns LOADER_ERROR_ARGUMENT.
   * [thread: any] [when: open] [blocks: no] [owns: caller] */
  loader_status_t (*finish)(void* host, loader_handle_t call, loader_status_t status,
                            const char* message, uint64_t message_size);

  /* One log line under the engine's name; `handle` may be 0.
   * [thread: any] [when: ready] [blocks: no] [owns: caller] */
  void (*log)(void* host, loader_handle_t handle, int32_t level, const char* text, uint64_t size);

  /* Adds to a usage counter of the session: characters, seconds, tokens.
   * [thread: any] [when: open] [blocks: no] [owns: caller] */
  void (*meter)(void* host, loader_handle_t handle, const char* unit, double amount);

  /* Adds a key and value to the session's trace.
   * [thread: any] [when: open] [blocks: no] [owns: caller] */
  void (*trace)(void* host, loader_handle_t handle, const char* key, const char* value);

  /* Nanoseconds left until the caller's deadline; INT64_MAX: none; 0 or less: over.
   * [thread: any] [when: open] [blocks: no] [owns: caller] */
  int64_t (*deadline)(void* host, loader_handle_t handle);

  /* 1 once the client is gone, has cancelled, or the session is being closed; else 0.
   * [thread: any] [when: open] [blocks: no] [owns: caller] */
  int32_t (*is_cancelled)(void* host, loader_handle_t handle);

  /* The host's side of an extension, or NULL. `id` as "loader.<name>/<rev>".
   * [thread: any] [when: ready] [blocks: no] [owns: callee] */
  const void* (*get_extension)(void* host, const char* id);

  /* Since 1.1. Ends a session with an error, whatever it is doing: a call of it may run, or none.
   * `status` as an entry would return it, neither LOADER_OK nor PENDING nor AGAIN; `message` may be
   * NULL. Results emitted before it arrive before it, later ones are refused. A call left PENDING
   * is void, a running one is cancelled, and destroy follows as after a write that failed. Inside
   * create it holds once create has succeeded. LOADER_ERROR_CLOSED: the session is over, or failed
   * already. LOADER_ERROR_ARGUMENT: another status, or a call of exec, which ends by its return or
   * by finish.
   * [thread: any] [when: open] [blocks: no] [owns: caller] */
  loader_status_t (*fail)(void* host, loader_handle_t handle, loader_status_t status,
                          const char* message, uint64_t message_size);
} loader_host_t;

/* ---- what the wrapper implements --------------------------------------------------------------- */

typedef struct loader_wrapper {
  uint32_t abi_major;
  uint32_t abi_minor;
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  const char* name;
  const char* version;

  /* Constant UTF-8 JSON: {"inputs": [...], "outputs": [...], "parameters": [...],
   * "properties": {"non_blocking": false, "deterministic": false, "slots_fixed": false}}.
   * May be NULL: nothing declared, nothing checked.
   * [thread: any] [when: loaded] [blocks: no] [owns: callee] */
  const char* (*describe)(void);

  /* Loads the model. `*instance` is passed to every later entry. `host` lives until fini returned.
   * [thread: main] [when: loaded] [blocks: yes] [owns: caller] */
  loader_status_t (*init)(const loader_host_t* host, const loader_config_t* config,
                          void** instance, loader_error_t* error);

  /* Frees what init made. Every session is destroyed by then, every health check has returned.
   * [thread: main] [when: ready] [blocks: yes] [owns: caller] */
  void (*fini)(void* instance);

  /* One request, any number of results emitted on `call`, then OK, an error or PENDING. NULL: this
   * engine has no one-shot calls.
   * [thread: session] [when: ready] [blocks: yes] [owns: caller] */
  loader_status_t (*exec)(void* instance, loader_handle_t call, const loader_open_t* open,
                          loader_frame_t* request, loader_error_t* error);

  /* Opens a session. `handle` is valid at once: emitting inside create works. On an error destroy
   * is not called. NULL: this engine has no sessions.
   * [thread: session] [when: ready] [blocks: yes] [owns: caller] */
  loader_status_t (*create)(void* instance, loader_handle_t handle, const loader_open_t* open,
                            void** session, loader_error_t* error);

  /* One frame of input. OK, an error (the session ends), or PENDING and finish(call) later; the next
   * frame comes after that.
   * [thread: session] [when: open] [blocks: yes] [owns: caller] */
  loader_status_t (*write)(void* session, loader_handle_t call, loader_frame_t* frame,
                           loader_error_t* error);

  /* The client sends nothing more: emit the last results. Exactly once, unless the session closed
   * first; the session is final when it has completed. NULL: nothing to do.
   * [thread: session] [when: open] [blocks: yes] [owns: caller] */
  loader_status_t (*end)(void* session, loader_handle_t call, loader_error_t* error);

  /* Optional: the session is being closed while a call of it may still run; make that call return
   * soon. May overlap the session's running call. Not for execs: they look at is_cancelled.
   * [thread: any] [when: open] [blocks: no] [owns: caller] */
  void (*cancel)(void* session, int32_t reason);

  /* Frees what create made: exactly once after a create that succeeded, when no call of the session
   * runs any more. Calls left PENDING are void: a later finish or emit is refused.
   * [thread: session] [when: open] [blocks: yes] [owns: caller] */
  void (*destroy)(void* session, int32_t reason);

  /* The wrapper's side of an extension, or NULL. May itself be NULL.
   * [thread: any] [when: loaded] [blocks: no] [owns: callee] */
  const void* (*get_extension)(const char* id);
} loader_wrapper_t;

#if defined(_WIN32)
#define LOADER_EXPORT __declspec(dllexport)
#else
#define LOADER_EXPORT __attribute__((visibility("default")))
#endif

/* The one exported symbol. Returns a table that lives as long as the library.
 * [thread: any] [when: loaded] [blocks: no] [owns: callee] */
LOADER_EXPORT const loader_wrapper_t* loader_wrapper(void);

/* ---- frozen ------------------------------------------------------------------------------------ */

#if defined(__cplusplus)
#define LOADER_FREEZE(what) static_assert(what, #what)
#else
#define LOADER_FREEZE(what) _Static_assert(what, #what)
#endif
#if UINTPTR_MAX == 0xffffffffffffffffu
LOADER_FREEZE(sizeof(loader_string_t) == 16);
LOADER_FREEZE(sizeof(loader_pair_t) == 32);
LOADER_FREEZE(sizeof(loader_buffer_t) == 32);
LOADER_FREEZE(sizeof(loader_item_t) == 88);
LOADER_FREEZE(sizeof(loader_frame_t) == 40);
LOADER_FREEZE(sizeof(loader_error_t) == 24);
LOADER_FREEZE(sizeof(loader_config_t) == 80);
LOADER_FREEZE(sizeof(loader_open_t) == 48);
LOADER_FREEZE(sizeof(loader_host_t) == 104);
LOADER_FREEZE(sizeof(loader_wrapper_t) == 112);
#endif
#undef LOADER_FREEZE

#ifdef __cplusplus
}
#endif

#endif /* LOADER_WRAPPER_H */
