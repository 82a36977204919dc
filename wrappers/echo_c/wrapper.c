/* The smallest complete native wrapper: what comes in goes out, unchanged and uncopied.
 * Copy this folder to start your own. One-shot calls and sessions; no threads, no locks. */
#include <loader/wrapper.h>
#include <stdlib.h>
#include <string.h>

typedef struct echo {
  const loader_host_t* host;
} echo_t;

typedef struct echo_session {
  echo_t* echo;
  loader_handle_t handle;
} echo_session_t;

static loader_status_t fail(loader_error_t* error, loader_status_t status, const char* text) {
  const size_t size = strlen(text);
  error->size = size < error->capacity ? (uint32_t)size : error->capacity;
  memcpy(error->message, text, error->size);
  return status;
}

static const char* describe(void) {
  return "{\"inputs\": [], \"outputs\": [], \"parameters\": [],"
         " \"properties\": {\"non_blocking\": true, \"deterministic\": true}}";
}

static loader_status_t init(const loader_host_t* host, const loader_config_t* config,
                            void** instance, loader_error_t* error) {
  (void)config;
  echo_t* echo = malloc(sizeof *echo);
  if (echo == NULL) return fail(error, LOADER_ERROR_MEMORY, "no memory for the instance");
  echo->host = host;
  *instance = echo;
  return LOADER_OK;
}

static void fini(void* instance) {
  free(instance);
}

/* The result is the input frame itself: emit takes its buffers, so nothing is copied here. */
static loader_status_t echo_frame(const loader_host_t* host, loader_handle_t handle,
                                  loader_frame_t* frame) {
  frame->position = -1;
  return host->emit(host->host, handle, frame, 0);
}

static loader_status_t exec(void* instance, loader_handle_t call, const loader_open_t* open,
                            loader_frame_t* request, loader_error_t* error) {
  (void)open, (void)error;
  return echo_frame(((echo_t*)instance)->host, call, request);
}

static loader_status_t create(void* instance, loader_handle_t handle, const loader_open_t* open,
                              void** session, loader_error_t* error) {
  (void)open;
  echo_session_t* made = malloc(sizeof *made);
  if (made == NULL) return fail(error, LOADER_ERROR_MEMORY, "no memory for a session");
  made->echo = instance;
  made->handle = handle;
  *session = made;
  return LOADER_OK;
}

static loader_status_t write_frame(void* session, loader_handle_t call, loader_frame_t* frame,
                                   loader_error_t* error) {
  (void)call, (void)error;
  echo_session_t* self = session;
  return echo_frame(self->echo->host, self->handle, frame);
}

static void destroy(void* session, int32_t reason) {
  (void)reason;
  free(session);
}

const loader_wrapper_t* loader_wrapper(void) {
  static const loader_wrapper_t table = {
      .abi_major = LOADER_ABI_MAJOR,
      .abi_minor = LOADER_ABI_MINOR,
      .struct_size = sizeof(loader_wrapper_t),
      .name = "echo_c",
      .version = "1.0.0",
      .describe = describe,
      .init = init,
      .fini = fini,
      .exec = exec,
      .create = create,
      .write = write_frame,
      .destroy = destroy,
  };
  return &table;
}
