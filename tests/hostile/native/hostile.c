/* A wrapper that misbehaves as its configuration says: {"behavior": NAME, "entry": ENTRY}. In
 * `write` and `exec` only for a frame with an item "trigger"; every other frame is echoed. In
 * `health` only after such a frame. For tests of what the host and the loader survive; never
 * install it. */
#include "hostile.h"

#include <fcntl.h>
#include <loader/ext/health.h>
#include <loader/ext/update.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { kEmitters = 10, kEmits = 20, kLateEmits = 200, kDescriptors = 1024 };

typedef struct instance {
  const loader_host_t* host;
  char behavior[32];
  char entry[16];
  atomic_int is_triggered; /* a frame with "trigger" has come */
} instance_t;

typedef struct session {
  instance_t* instance;
  loader_handle_t handle;
} session_t;

/* What a behaviour may use. `call` is 0 where there is none. */
typedef struct scene {
  instance_t* instance;
  loader_handle_t handle;
  loader_handle_t call;
  loader_frame_t* frame;
  loader_error_t* error;
} scene_t;

typedef loader_status_t (*behavior_t)(scene_t* scene);

static void rest(long milliseconds) {
  const struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  nanosleep(&time, NULL);
}

static loader_status_t emit_with(const loader_host_t* host, loader_handle_t handle,
                                 const char* text, uint32_t flags) {
  loader_item_t item;
  memset(&item, 0, sizeof item);
  item.key.data = "text";
  item.key.size = 4;
  item.type = LOADER_ITEM_TEXT;
  item.data.data = (const uint8_t*)text;
  item.data.size = strlen(text);
  loader_frame_t frame;
  memset(&frame, 0, sizeof frame);
  frame.struct_size = sizeof frame;
  frame.item_size = sizeof item;
  frame.item_count = 1;
  frame.position = -1;
  frame.items = &item;
  return host->emit(host->host, handle, &frame, flags);
}

static loader_status_t emit_text(const loader_host_t* host, loader_handle_t handle,
                                 const char* text) {
  return emit_with(host, handle, text, 0);
}

static loader_status_t segfault(scene_t* scene) {
  (void)scene;
  volatile int* nowhere = NULL;
  *nowhere = 1;
  return LOADER_OK;
}

static loader_status_t abort_process(scene_t* scene) {
  (void)scene;
  abort();
}

static loader_status_t loop(scene_t* scene) {
  (void)scene;
  volatile int is_stopped = 0;
  while (!is_stopped) {
  }
  return LOADER_OK;
}

static loader_status_t rest_a_second(scene_t* scene) {
  (void)scene;
  rest(1000);
  return LOADER_OK;
}

static loader_status_t exit_zero(scene_t* scene) {
  (void)scene;
  exit(0);
}

static loader_status_t throw_through(scene_t* scene) {
  (void)scene;
  hostile_throw();
  return LOADER_OK;
}

/* Before it throws it puts a text of its own, which nobody may write to, where ours goes. */
static loader_status_t throw_behind(scene_t* scene) {
  scene->error->message = (char*)"a text that cannot be written to";
  scene->error->capacity = 1u << 20;
  hostile_throw();
  return LOADER_OK;
}

/* A result before the session is there. */
static loader_status_t emit_early(scene_t* scene) {
  return emit_text(scene->instance->host, scene->handle, "early");
}

/* Emits until there is no credit, without waiting; 9 if the host says so. */
static loader_status_t emit_nowait(scene_t* scene) {
  loader_status_t status = LOADER_OK;
  while (status == LOADER_OK)
    status = emit_with(scene->instance->host, scene->handle, "now", LOADER_EMIT_NOWAIT);
  return status == LOADER_AGAIN ? 9 : LOADER_OK;
}

static loader_status_t note(scene_t* scene) {
  const loader_host_t* host = scene->instance->host;
  host->trace(host->host, scene->handle, "key", "value");
  host->meter(host->host, scene->handle, "words", 2.5);
  return LOADER_OK;
}

/* Each claim is wrong in its own way; the host must refuse them all and stay whole. */
static loader_status_t lie(scene_t* scene) {
  const loader_host_t* host = scene->instance->host;
  loader_item_t item;
  memset(&item, 0, sizeof item);
  item.key.data = "lie";
  item.key.size = 3;
  loader_frame_t frame;
  memset(&frame, 0, sizeof frame);
  int accepted = 0;
  accepted += host->emit(host->host, scene->handle, NULL, 0) == LOADER_OK;
  accepted += host->emit(host->host, scene->handle, &frame, 0) == LOADER_OK; /* struct_size 0 */
  frame.struct_size = sizeof frame;
  frame.item_size = 8; /* a stride inside the item */
  frame.item_count = 1;
  frame.items = &item;
  accepted += host->emit(host->host, scene->handle, &frame, 0) == LOADER_OK;
  frame.item_size = sizeof item;
  frame.item_count = 0x7fffffff;
  accepted += host->emit(host->host, scene->handle, &frame, 0) == LOADER_OK;
  frame.item_count = 1;
  item.data.size = 12; /* of nothing */
  accepted += host->emit(host->host, scene->handle, &frame, 0) == LOADER_OK;
  item.data.data = (const uint8_t*)"x";
  item.data.size = UINT64_MAX;
  accepted += host->emit(host->host, scene->handle, &frame, 0) == LOADER_OK;
  item.data.size = 1;
  item.type = 77;
  accepted += host->emit(host->host, scene->handle, &frame, 0) == LOADER_OK;
  item.type = LOADER_ITEM_TENSOR;
  item.dim_count = 3; /* without a shape */
  accepted += host->emit(host->host, scene->handle, &frame, 0) == LOADER_OK;
  item.dim_count = 0;
  item.key.data = "\xff\xfe";
  item.key.size = 2; /* not UTF-8 */
  accepted += host->emit(host->host, scene->handle, &frame, 0) == LOADER_OK;
  loader_buffer_t buffer;
  uint8_t* writable = NULL;
  const uint64_t huge[] = {UINT64_MAX, (uint64_t)5 << 30}; /* the second one costs a liar nothing */
  for (int i = 0; i < 2; ++i) {
    accepted +=
        host->alloc_result(host->host, scene->handle, huge[i], &buffer, &writable) == LOADER_OK;
    item.key.size = 1;
    item.key.data = "k";
    item.data.size = huge[i];
    accepted += host->emit(host->host, scene->handle, &frame, 0) == LOADER_OK;
  }
  accepted += host->finish(host->host, scene->handle ^ 0xffff00000000u, 0, NULL, 0) == LOADER_OK;
  memcpy(scene->error->message, "lied", 4);
  scene->error->size = 0xffffffffu; /* longer than the room */
  scene->error->message = NULL;
  return accepted == 0 ? 7 : LOADER_OK;
}

typedef struct late {
  const loader_host_t* host;
  loader_handle_t handle;
} late_t;

static void* emit_late(void* argument) {
  late_t late = *(late_t*)argument;
  free(argument);
  int refused = 0;
  for (int i = 0; i < kLateEmits; ++i) {
    if (emit_text(late.host, late.handle, "late") == LOADER_ERROR_CLOSED) ++refused;
    late.host->finish(late.host->host, late.handle, LOADER_OK, NULL, 0);
    rest(1);
  }
  const char* text = refused > 0 ? "late emits were refused" : "late emits were accepted";
  late.host->log(late.host->host, 0, LOADER_LOG_WARNING, text, strlen(text));
  return NULL;
}

/* Goes on emitting and finishing from a thread that nothing stops. */
static loader_status_t emit_after_destroy(scene_t* scene) {
  late_t* late = malloc(sizeof *late);
  pthread_t thread;
  if (late == NULL) return LOADER_ERROR_MEMORY;
  late->host = scene->instance->host;
  late->handle = scene->handle;
  if (pthread_create(&thread, NULL, emit_late, late) != 0)
    free(late);
  else
    pthread_detach(thread);
  return LOADER_OK;
}

static void* emit_some(void* argument) {
  const late_t* target = argument;
  for (int i = 0; i < kEmits; ++i) emit_text(target->host, target->handle, "many");
  return NULL;
}

static loader_status_t emit_from_ten_threads(scene_t* scene) {
  late_t target = {scene->instance->host, scene->handle};
  pthread_t threads[kEmitters];
  for (int i = 0; i < kEmitters; ++i) pthread_create(&threads[i], NULL, emit_some, &target);
  for (int i = 0; i < kEmitters; ++i) pthread_join(threads[i], NULL);
  return LOADER_OK;
}

typedef struct failing {
  late_t target;
  atomic_int failed;
  atomic_int refused;
} failing_t;

static void* emit_and_fail(void* argument) {
  failing_t* failing = argument;
  const loader_host_t* host = failing->target.host;
  emit_some(&failing->target);
  const loader_status_t status = host->fail(host->host, failing->target.handle, 100, "broken", 6);
  if (status == LOADER_OK) atomic_fetch_add(&failing->failed, 1);
  if (status == LOADER_ERROR_CLOSED) atomic_fetch_add(&failing->refused, 1);
  return NULL;
}

/* Ten threads end the session at once; one of them may. */
static loader_status_t fail_from_ten_threads(scene_t* scene) {
  failing_t failing = {{scene->instance->host, scene->handle}, 0, 0};
  pthread_t threads[kEmitters];
  for (int i = 0; i < kEmitters; ++i) pthread_create(&threads[i], NULL, emit_and_fail, &failing);
  for (int i = 0; i < kEmitters; ++i) pthread_join(threads[i], NULL);
  char text[64];
  const int size = snprintf(text, sizeof text, "%d failed, %d were refused",
                            atomic_load(&failing.failed), atomic_load(&failing.refused));
  const loader_host_t* host = failing.target.host;
  host->log(host->host, 0, LOADER_LOG_INFO, text, (uint64_t)size);
  return LOADER_OK;
}

static void* fail_late(void* argument) {
  late_t late = *(late_t*)argument;
  free(argument);
  int refused = 0;
  for (int i = 0; i < kEmits; ++i) {
    const loader_status_t status = late.host->fail(late.host->host, late.handle, 100, NULL, 0);
    if (status == LOADER_ERROR_CLOSED) ++refused;
    rest(1);
  }
  const char* text = refused == kEmits ? "late failures were refused" : "a late failure was taken";
  late.host->log(late.host->host, 0, LOADER_LOG_WARNING, text, strlen(text));
  return NULL;
}

/* Run in destroy: from a thread that goes on after it. */
static loader_status_t fail_after_destroy(scene_t* scene) {
  late_t* late = malloc(sizeof *late);
  pthread_t thread;
  if (late == NULL) return LOADER_ERROR_MEMORY;
  *late = (late_t){scene->instance->host, scene->handle};
  if (pthread_create(&thread, NULL, fail_late, late) != 0)
    free(late);
  else
    pthread_detach(thread);
  return LOADER_OK;
}

static loader_status_t never_finish(scene_t* scene) {
  (void)scene;
  return LOADER_PENDING;
}

static loader_status_t finish_twice(scene_t* scene) {
  const loader_host_t* host = scene->instance->host;
  const loader_status_t first = host->finish(host->host, scene->call, LOADER_OK, NULL, 0);
  const loader_status_t second = host->finish(host->host, scene->call, 5, "twice", 5);
  emit_text(host, scene->handle,
            first == LOADER_OK && second == LOADER_ERROR_ARGUMENT ? "refused" : "accepted");
  return LOADER_PENDING;
}

static loader_status_t fork_child(scene_t* scene) {
  if (fork() == 0) {
    signal(SIGTERM, SIG_IGN);
    for (;;) pause();
  }
  emit_text(scene->instance->host, scene->handle, "forked");
  return LOADER_OK;
}

static loader_status_t close_all(scene_t* scene) {
  (void)scene;
  for (int fd = 3; fd < kDescriptors; ++fd) close(fd);
  return LOADER_OK;
}

static int is_memory_file(int fd) {
  char path[64];
  char target[128];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(path, target, sizeof target - 1);
  if (size < 0) return 0;
  target[size] = '\0';
  return strstr(target, "memfd:") != NULL;
}

static loader_status_t truncate_arena(scene_t* scene) {
  int truncated = 0;
  for (int fd = 3; fd < kDescriptors; ++fd)
    if (is_memory_file(fd) && ftruncate(fd, 0) == 0) ++truncated;
  return emit_text(scene->instance->host, scene->handle, truncated == 0 ? "sealed" : "truncated");
}

static loader_status_t write_garbage(scene_t* scene) {
  (void)scene;
  unsigned char garbage[4096];
  for (size_t i = 0; i < sizeof garbage; ++i) garbage[i] = (unsigned char)(i * 7 + 3);
  for (int fd = 3; fd < kDescriptors; ++fd) {
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISSOCK(info.st_mode)) continue;
    (void)!send(fd, garbage, sizeof garbage, MSG_NOSIGNAL);
  }
  return LOADER_OK;
}

/* A well-formed result of no session whose payloads are the whole arena, 64 times over. */
static loader_status_t overlap(scene_t* scene) {
  (void)scene;
  enum { kRefs = 64, kSize = 16 + kRefs * 24 };
  const uint64_t arena = (uint64_t)64 << 20;
  const uint32_t size = kSize;
  const uint16_t head[2] = {66, kRefs};
  unsigned char record[kSize];
  memset(record, 0, sizeof record);
  memcpy(record, &size, sizeof size);
  memcpy(record + 4, head, sizeof head);
  memset(record + 8, 0x11, 8);
  for (int i = 0; i < kRefs; ++i) {
    unsigned char* ref = record + 16 + i * 24;
    ref[0] = 1; /* in the arena */
    memcpy(ref + 16, &arena, sizeof arena);
  }
  for (int fd = 3; fd < kDescriptors; ++fd) {
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISSOCK(info.st_mode)) continue;
    (void)!send(fd, record, sizeof record, MSG_NOSIGNAL);
  }
  return LOADER_OK;
}

static loader_status_t print_gigabyte(scene_t* scene) {
  (void)scene;
  static char line[1024 * 1024];
  memset(line, 'x', sizeof line);
  for (size_t i = 127; i < sizeof line; i += 128) line[i] = '\n';
  for (int i = 0; i < 1024; ++i) fwrite(line, 1, sizeof line, stdout);
  fflush(stdout);
  return LOADER_OK;
}

/* 128 MiB of log in lines of a kilobyte. */
static loader_status_t log_much(scene_t* scene) {
  const loader_host_t* host = scene->instance->host;
  static char line[1024];
  memset(line, 'x', sizeof line);
  for (int i = 0; i < 128 * 1024; ++i) host->log(host->host, 0, LOADER_LOG_INFO, line, sizeof line);
  return LOADER_OK;
}

/* Until somebody stops it, or 64 GiB: whichever comes first. */
static loader_status_t allocate(scene_t* scene) {
  (void)scene;
  const size_t step = 16u * 1024 * 1024;
  for (int i = 0; i < 4096; ++i) {
    char* memory = malloc(step);
    if (memory == NULL) return LOADER_ERROR_MEMORY;
    for (size_t at = 0; at < step; at += 4096) ((volatile char*)memory)[at] = 1;
    rest(5);
  }
  return LOADER_OK;
}

static loader_status_t ignore_cancel(scene_t* scene) {
  (void)scene;
  volatile int is_stopped = 0;
  while (!is_stopped) rest(1000);
  return LOADER_OK;
}

/* Emits until the host says that the session is over; no credit blocks it. */
static loader_status_t flood(scene_t* scene) {
  while (emit_text(scene->instance->host, scene->handle, "flood") == LOADER_OK) {
  }
  return LOADER_OK;
}

static loader_status_t fail(scene_t* scene) {
  memcpy(scene->error->message, "as you asked", 12);
  scene->error->size = 12;
  return 42;
}

/* As much as the room holds, in three bytes a character. */
static loader_status_t fail_at_length(scene_t* scene) {
  uint32_t size = 0;
  for (; size + 3 <= scene->error->capacity; size += 3)
    memcpy(scene->error->message + size, "\xe8\xaa\xa4", 3);
  scene->error->size = size;
  return 43;
}

static loader_status_t strange_status(scene_t* scene) {
  (void)scene;
  return -777;
}

typedef struct row {
  const char* name;
  behavior_t run;
} row_t;

static const row_t kRows[] = {
    {"segfault", segfault},
    {"abort", abort_process},
    {"loop", loop},
    {"rest", rest_a_second},
    {"exit", exit_zero},
    {"throw", throw_through},
    {"throw_behind", throw_behind},
    {"emit_early", emit_early},
    {"nowait", emit_nowait},
    {"note", note},
    {"lie", lie},
    {"emit_after_destroy", emit_after_destroy},
    {"ten_threads", emit_from_ten_threads},
    {"ten_threads_fail", fail_from_ten_threads},
    {"fail_after_destroy", fail_after_destroy},
    {"never_finish", never_finish},
    {"finish_twice", finish_twice},
    {"fork", fork_child},
    {"close_all", close_all},
    {"truncate_arena", truncate_arena},
    {"garbage", write_garbage},
    {"overlap", overlap},
    {"print", print_gigabyte},
    {"log", log_much},
    {"allocate", allocate},
    {"ignore_cancel", ignore_cancel},
    {"flood", flood},
    {"fail", fail},
    {"fail_at_length", fail_at_length},
    {"strange_status", strange_status},
};

/* Misbehaves if the configuration names this entry. LOADER_OK: it does not, or had nothing to say.
 */
static loader_status_t misbehave(const char* entry, scene_t* scene) {
  if (strcmp(scene->instance->entry, entry) != 0) return LOADER_OK;
  for (size_t i = 0; i < sizeof kRows / sizeof *kRows; ++i)
    if (strcmp(kRows[i].name, scene->instance->behavior) == 0) return kRows[i].run(scene);
  return LOADER_OK;
}

/* The string value of `key` in flat JSON; enough for these tests. */
static void read_string(loader_string_t json, const char* key, const char* fallback, char* out,
                        size_t capacity) {
  snprintf(out, capacity, "%s", fallback);
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\"", key);
  char text[512];
  const size_t size = json.size < sizeof text - 1 ? json.size : sizeof text - 1;
  if (size != 0) memcpy(text, json.data, size);
  text[size] = '\0';
  const char* at = strstr(text, quoted);
  if (at == NULL) return;
  at = strchr(at + strlen(quoted), '"');
  if (at == NULL) return;
  const char* end = strchr(at + 1, '"');
  if (end == NULL) return;
  snprintf(out, capacity, "%.*s", (int)(end - at - 1), at + 1);
}

static int is_triggered(const loader_frame_t* frame) {
  for (uint32_t i = 0; i < frame->item_count; ++i) {
    const loader_item_t* item =
        (const loader_item_t*)((const char*)frame->items + (size_t)i * frame->item_size);
    if (item->key.size == 7 && memcmp(item->key.data, "trigger", 7) == 0) return 1;
  }
  return 0;
}

static loader_status_t init(const loader_host_t* host, const loader_config_t* config, void** out,
                            loader_error_t* error) {
  instance_t* instance = calloc(1, sizeof *instance);
  if (instance == NULL) return LOADER_ERROR_MEMORY;
  instance->host = host;
  read_string(config->json, "behavior", "", instance->behavior, sizeof instance->behavior);
  read_string(config->json, "entry", "write", instance->entry, sizeof instance->entry);
  *out = instance;
  scene_t scene = {instance, 0, 0, NULL, error};
  const loader_status_t status = misbehave("init", &scene);
  if (status != LOADER_OK) free(instance);
  return status;
}

static void fini(void* self) {
  instance_t instance = *(instance_t*)self;
  free(self); /* first: what comes may throw */
  scene_t scene = {&instance, 0, 0, NULL, NULL};
  misbehave("fini", &scene);
}

static loader_status_t echo(instance_t* instance, loader_handle_t handle, loader_frame_t* frame) {
  frame->position = -1;
  const loader_status_t status = instance->host->emit(instance->host->host, handle, frame, 0);
  return status == LOADER_ERROR_CLOSED ? LOADER_OK : status;
}

static loader_status_t exec(void* self, loader_handle_t call, const loader_open_t* open,
                            loader_frame_t* request, loader_error_t* error) {
  (void)open;
  instance_t* instance = self;
  scene_t scene = {instance, call, call, request, error};
  if (is_triggered(request)) atomic_store(&instance->is_triggered, 1);
  return is_triggered(request) ? misbehave("exec", &scene) : echo(self, call, request);
}

static loader_status_t create(void* self, loader_handle_t handle, const loader_open_t* open,
                              void** out, loader_error_t* error) {
  (void)open;
  scene_t scene = {self, handle, 0, NULL, error};
  const loader_status_t status = misbehave("create", &scene);
  if (status != LOADER_OK) return status;
  session_t* session = calloc(1, sizeof *session);
  if (session == NULL) return LOADER_ERROR_MEMORY;
  session->instance = self;
  session->handle = handle;
  *out = session;
  return LOADER_OK;
}

static loader_status_t write_frame(void* self, loader_handle_t call, loader_frame_t* frame,
                                   loader_error_t* error) {
  session_t* session = self;
  scene_t scene = {session->instance, session->handle, call, frame, error};
  if (is_triggered(frame)) atomic_store(&session->instance->is_triggered, 1);
  if (!is_triggered(frame)) return echo(session->instance, session->handle, frame);
  return misbehave("write", &scene);
}

static loader_status_t end(void* self, loader_handle_t call, loader_error_t* error) {
  session_t* session = self;
  scene_t scene = {session->instance, session->handle, call, NULL, error};
  return misbehave("end", &scene);
}

static void cancel(void* self, int32_t reason) {
  (void)reason;
  session_t* session = self;
  scene_t scene = {session->instance, session->handle, 0, NULL, NULL};
  misbehave("cancel", &scene);
}

static void destroy(void* self, int32_t reason) {
  (void)reason;
  session_t* session = self;
  scene_t scene = {session->instance, session->handle, 0, NULL, NULL};
  free(session); /* first: what comes may throw */
  misbehave("destroy", &scene);
}

static loader_status_t update(void* self, const loader_config_t* config, loader_error_t* error) {
  (void)config;
  scene_t scene = {self, 0, 0, NULL, error};
  return misbehave("update", &scene);
}

static loader_status_t check(void* self, loader_error_t* error) {
  instance_t* instance = self;
  scene_t scene = {instance, 0, 0, NULL, error};
  return atomic_load(&instance->is_triggered) ? misbehave("health", &scene) : LOADER_OK;
}

static const void* get_extension(const char* id) {
  static const loader_ext_update_t live = {.struct_size = sizeof live, .update = update};
  static const loader_ext_health_t well = {.struct_size = sizeof well, .check = check};
  if (strcmp(id, LOADER_EXT_UPDATE) == 0) return &live;
  return strcmp(id, LOADER_EXT_HEALTH) == 0 ? &well : NULL;
}

const loader_wrapper_t* loader_wrapper(void) {
  static const loader_wrapper_t table = {
      .abi_major = LOADER_ABI_MAJOR,
      .abi_minor = LOADER_ABI_MINOR,
      .struct_size = sizeof(loader_wrapper_t),
      .name = "hostile",
      .version = "1.0.0",
      .init = init,
      .fini = fini,
      .exec = exec,
      .create = create,
      .write = write_frame,
      .end = end,
      .cancel = cancel,
      .destroy = destroy,
      .get_extension = get_extension,
  };
  return &table;
}
