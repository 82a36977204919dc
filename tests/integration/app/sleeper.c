/* An engine that says non_blocking and is not: a call holds its shard until the file PATH.awake is
 * there. PATH is the first item; PATH.asleep says that it has begun. Only for tests. */
#include <fcntl.h>
#include <loader/wrapper.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { kPeriodNs = 1000 * 1000, kMostRounds = 30 * 1000 };

static loader_status_t init(const loader_host_t* host, const loader_config_t* config,
                            void** instance, loader_error_t* error) {
  (void)host, (void)config, (void)error;
  static int one;
  *instance = &one;
  return LOADER_OK;
}

static void fini(void* instance) {
  (void)instance;
}

static loader_status_t exec(void* instance, loader_handle_t call, const loader_open_t* open_as,
                            loader_frame_t* frame, loader_error_t* error) {
  (void)instance, (void)call, (void)open_as, (void)error;
  const struct timespec period = {0, kPeriodNs};
  char asleep[512], awake[512];
  const int size = (int)frame->items[0].data.size;
  const char* path = (const char*)frame->items[0].data.data;
  snprintf(asleep, sizeof asleep, "%.*s.asleep", size, path);
  snprintf(awake, sizeof awake, "%.*s.awake", size, path);
  close(open(asleep, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  for (int i = 0; i < kMostRounds && access(awake, F_OK) != 0; i++) nanosleep(&period, NULL);
  return LOADER_OK;
}

static const char* describe(void) {
  return "{\"properties\": {\"non_blocking\": true}}";
}

const loader_wrapper_t* loader_wrapper(void) {
  static const loader_wrapper_t table = {
      .abi_major = LOADER_ABI_MAJOR,
      .abi_minor = LOADER_ABI_MINOR,
      .struct_size = sizeof(loader_wrapper_t),
      .name = "sleeper",
      .version = "1",
      .describe = describe,
      .init = init,
      .fini = fini,
      .exec = exec,
  };
  return &table;
}
