/* A native engine that notes when it learns that its client is gone. Each note is one line of the
 * file named by WATCHFUL_FILE: what, the monotonic clock in nanoseconds, and a number. Only for
 * tests. */
#include <fcntl.h>
#include <loader/wrapper.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { kPeriodNs = 100 * 1000, kMostRounds = 200 * 1000 };

static const loader_host_t* the_host;
static int notes = -1;

typedef struct watchful {
  loader_handle_t handle;
} watchful_t;

static void note(const char* what, int number) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  char line[96];
  const int size = snprintf(line, sizeof line, "%s %lld %d\n", what,
                            (long long)now.tv_sec * 1000000000 + now.tv_nsec, number);
  if (write(notes, line, (size_t)size) != size) abort();
}

static loader_status_t init(const loader_host_t* host, const loader_config_t* config,
                            void** instance, loader_error_t* error) {
  (void)config, (void)error;
  const char* path = getenv("WATCHFUL_FILE");
  the_host = host;
  notes = path == NULL ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  *instance = &notes;
  return notes < 0 ? LOADER_ERROR_INTERNAL : LOADER_OK;
}

static void fini(void* instance) {
  (void)instance;
  close(notes);
}

static loader_status_t create(void* instance, loader_handle_t handle, const loader_open_t* open,
                              void** session, loader_error_t* error) {
  (void)instance, (void)open, (void)error;
  watchful_t* made = malloc(sizeof *made);
  if (made == NULL) return LOADER_ERROR_MEMORY;
  made->handle = handle;
  *session = made;
  return LOADER_OK;
}

/* Answers the frame, then stays in the call until the client is gone. */
static loader_status_t write_frame(void* session, loader_handle_t call, loader_frame_t* frame,
                                   loader_error_t* error) {
  (void)call, (void)error;
  const loader_handle_t handle = ((watchful_t*)session)->handle;
  const struct timespec period = {0, kPeriodNs};
  frame->position = -1;
  loader_status_t status = the_host->emit(the_host->host, handle, frame, 0);
  for (int i = 0; i < kMostRounds && status == LOADER_OK; i++) {
    if (the_host->is_cancelled(the_host->host, handle) != 0) {
      note("is_cancelled", 1);
      break;
    }
    nanosleep(&period, NULL);
  }
  note("returned", 0);
  return status;
}

static void cancel(void* session, int32_t reason) {
  (void)reason;
  note("cancel", the_host->is_cancelled(the_host->host, ((watchful_t*)session)->handle));
}

static void destroy(void* session, int32_t reason) {
  note("destroy", reason);
  free(session);
}

const loader_wrapper_t* loader_wrapper(void) {
  static const loader_wrapper_t table = {
      .abi_major = LOADER_ABI_MAJOR,
      .abi_minor = LOADER_ABI_MINOR,
      .struct_size = sizeof(loader_wrapper_t),
      .name = "watchful",
      .version = "1",
      .init = init,
      .fini = fini,
      .create = create,
      .write = write_frame,
      .cancel = cancel,
      .destroy = destroy,
  };
  return &table;
}
