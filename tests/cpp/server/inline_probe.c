/* A native engine for the tests of `isolation: inline`: what a call does is the key of its first
 * item. Says non_blocking unless built with PROBE_BLOCKS. Its counters are exported for the tests.
 */
#include <loader/ext/resources.h>
#include <loader/wrapper.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { kResultBytes = 1024, kLentBytes = 1 << 20 };

EXPORT atomic_int probe_created, probe_destroyed, probe_reason, probe_cancelled, probe_calls;
EXPORT atomic_int probe_lent, probe_released, probe_overlaps, probe_nested, probe_finished;
EXPORT atomic_int probe_ended, probe_failed, probe_refused;
EXPORT atomic_int probe_breaks; /* create fails its session */
EXPORT atomic_int probe_loaded, probe_unloaded;
EXPORT sem_t probe_gate;

static atomic_int running;
static atomic_int threads; /* of ours: fini waits for them, as the host's table ends with it */
static _Thread_local int depth;

typedef struct session {
  const loader_host_t* host;
  loader_handle_t handle;
} session_t;

typedef struct work {
  void (*entry)(struct work work);
  const loader_host_t* host;
  loader_handle_t call;
  int count;
} work_t;

static void enter(void) {
  if (depth++ > 0) probe_nested++;
  if (running++ > 0) probe_overlaps++;
  probe_calls++;
}

static void leave(void) {
  running--;
  depth--;
}

static void release_lent(loader_buffer_t* buffer) {
  free(buffer->private_data);
  buffer->release = NULL;
  probe_released++;
}

static loader_status_t emit(const loader_host_t* host, loader_handle_t handle,
                            loader_item_t* item) {
  loader_frame_t frame;
  memset(&frame, 0, sizeof frame);
  frame.struct_size = sizeof frame;
  frame.item_size = sizeof *item;
  frame.item_count = 1;
  frame.position = -1;
  frame.items = item;
  return host->emit(host->host, handle, &frame, 0);
}

static int emit_many(const loader_host_t* host, loader_handle_t handle, int count) {
  static const uint8_t bytes[kResultBytes];
  for (int i = 0; i < count; ++i) {
    loader_item_t item;
    memset(&item, 0, sizeof item);
    item.type = LOADER_ITEM_BYTES;
    item.key.data = "n";
    item.key.size = 1;
    item.data.data = bytes;
    item.data.size = sizeof bytes;
    if (emit(host, handle, &item) != LOADER_OK) return i;
  }
  return count;
}

static loader_status_t emit_lent(const loader_host_t* host, loader_handle_t handle) {
  loader_item_t item;
  memset(&item, 0, sizeof item);
  item.key.data = "lent";
  item.key.size = 4;
  item.type = LOADER_ITEM_BYTES;
  item.data.private_data = calloc(1, kLentBytes);
  item.data.data = item.data.private_data;
  item.data.size = kLentBytes;
  item.data.release = release_lent;
  probe_lent++;
  return emit(host, handle, &item);
}

static void emit_later(work_t work) {
  const int sent = emit_many(work.host, work.call, work.count);
  const loader_status_t status = sent == work.count ? LOADER_OK : 7;
  work.host->finish(work.host->host, work.call, status, NULL, 0);
  probe_ended++;
}

/* The thread only emits: another call finishes this one. */
static _Atomic loader_handle_t left_open;

static void emit_only(work_t work) {
  if (emit_many(work.host, work.call, work.count) < work.count) probe_refused++;
  probe_ended++;
}

static void* run_thread(void* argument) {
  const work_t work = *(work_t*)argument;
  free(argument);
  work.entry(work);
  threads--;
  return NULL;
}

static loader_status_t begin(void (*entry)(work_t), const loader_host_t* host, loader_handle_t call,
                             int count) {
  pthread_t thread;
  work_t* work = malloc(sizeof *work);
  *work = (work_t){entry, host, call, count};
  threads++;
  if (pthread_create(&thread, NULL, run_thread, work) != 0) abort();
  pthread_detach(thread);
  return LOADER_PENDING;
}

/* Results, then the failure; what comes after it is refused. */
static void break_session(const loader_host_t* host, loader_handle_t handle, int count) {
  emit_many(host, handle, count);
  if (host->fail(host->host, handle, 78, "lost", 4) == LOADER_OK) probe_failed++;
  if (host->fail(host->host, handle, 79, NULL, 0) == LOADER_ERROR_CLOSED) probe_refused++;
  if (emit_many(host, handle, 1) == 0) probe_refused++;
  if (host->finish(host->host, handle, LOADER_OK, NULL, 0) == LOADER_ERROR_CLOSED) probe_refused++;
}

static void break_later(work_t work) {
  break_session(work.host, work.call, work.count);
}

static loader_status_t say_count(loader_error_t* error, int count) {
  error->size = (uint32_t)snprintf(error->message, error->capacity, "emitted %d", count);
  return 7;
}

static int is_key(const loader_frame_t* frame, const char* key) {
  const size_t size = strlen(key);
  return frame->item_count > 0 && frame->items[0].key.size == size &&
         memcmp(frame->items[0].key.data, key, size) == 0;
}

static int number_of(const loader_frame_t* frame) {
  char text[16] = {0};
  const uint64_t size = frame->items[0].data.size;
  memcpy(text, frame->items[0].data.data, size < sizeof text ? size : sizeof text - 1);
  return atoi(text);
}

static loader_status_t run(const loader_host_t* host, loader_handle_t handle, loader_handle_t call,
                           loader_frame_t* frame, loader_error_t* error) {
  if (is_key(frame, "many")) {
    const int count = number_of(frame);
    const int sent = emit_many(host, handle, count);
    return sent == count ? LOADER_OK : say_count(error, sent);
  }
  if (is_key(frame, "later")) return begin(emit_later, host, call, number_of(frame));
  if (is_key(frame, "leave_open")) {
    left_open = call;
    return begin(emit_only, host, call, number_of(frame));
  }
  if (is_key(frame, "finish")) return host->finish(host->host, left_open, LOADER_OK, NULL, 0);
  if (is_key(frame, "never")) return LOADER_PENDING;
  if (is_key(frame, "break")) return break_session(host, handle, number_of(frame)), LOADER_OK;
  if (is_key(frame, "break_later")) {
    begin(break_later, host, handle, number_of(frame));
    return LOADER_OK;
  }
  if (is_key(frame, "break_call")) return begin(break_later, host, call, number_of(frame));
  if (is_key(frame, "lent")) return emit_lent(host, handle);
  if (is_key(frame, "gate")) sem_wait(&probe_gate);
  if (is_key(frame, "open")) sem_post(&probe_gate);
  if (is_key(frame, "segfault")) raise(SIGSEGV);
  if (is_key(frame, "fail")) return say_count(error, 0);
  if (is_key(frame, "sink")) return LOADER_OK;
  frame->position = -1;
  return host->emit(host->host, handle, frame, 0);
}

static const char* describe(void) {
#ifdef PROBE_BLOCKS
  return "{\"properties\": {\"non_blocking\": false}}";
#else
  return "{\"properties\": {\"non_blocking\": true}}";
#endif
}

static loader_status_t init(const loader_host_t* host, const loader_config_t* config,
                            void** instance, loader_error_t* error) {
  if (memmem(config->json.data, config->json.size, "refuse", 6) != NULL) {
    error->size = (uint32_t)snprintf(error->message, error->capacity, "refused as asked");
    return LOADER_ERROR_INTERNAL;
  }
  sem_init(&probe_gate, 0, 0);
  *instance = (void*)(uintptr_t)host;
  return LOADER_OK;
}

static void fini(void* instance) {
  (void)instance;
  const struct timespec pause = {0, 1000000};
  for (int i = 0; threads > 0 && i < 30000; ++i) nanosleep(&pause, NULL);
  probe_finished++;
}

static loader_status_t exec(void* instance, loader_handle_t call, const loader_open_t* open,
                            loader_frame_t* request, loader_error_t* error) {
  (void)open;
  enter();
  const loader_status_t status = run(instance, call, call, request, error);
  leave();
  return status;
}

static loader_status_t create(void* instance, loader_handle_t handle, const loader_open_t* open,
                              void** session, loader_error_t* error) {
  (void)open, (void)error;
  session_t* made = malloc(sizeof *made);
  *made = (session_t){instance, handle};
  *session = made;
  probe_created++;
  if (probe_breaks) break_session(instance, handle, 1);
  return LOADER_OK;
}

static loader_status_t write_frame(void* session, loader_handle_t call, loader_frame_t* frame,
                                   loader_error_t* error) {
  const session_t* self = session;
  enter();
  const loader_status_t status = run(self->host, self->handle, call, frame, error);
  leave();
  return status;
}

static void cancel(void* session, int32_t reason) {
  (void)session, (void)reason;
  probe_cancelled++;
}

static void destroy(void* session, int32_t reason) {
  session_t* self = session;
  char text[64];
  const int size = snprintf(text, sizeof text, "destroyed for reason %d", reason);
  self->host->log(self->host->host, self->handle, LOADER_LOG_INFO, text, (uint64_t)size);
  probe_reason = reason;
  probe_destroyed++;
  free(session);
}

static loader_status_t load_resource(void* instance, uint32_t id, const loader_item_t* resource,
                                     loader_error_t* error) {
  (void)instance, (void)id;
  enter();
  probe_loaded += (int)resource->data.size;
  leave();
  if (resource->data.size != 0) return LOADER_OK;
  error->size = (uint32_t)snprintf(error->message, error->capacity, "nothing in it");
  return 9;
}

static loader_status_t unload_resource(void* instance, uint32_t id, loader_error_t* error) {
  (void)instance, (void)id, (void)error;
  probe_unloaded++;
  return LOADER_OK;
}

static const void* get_extension(const char* id) {
  static const loader_ext_resources_t resources = {
      .struct_size = sizeof(loader_ext_resources_t),
      .load = load_resource,
      .unload = unload_resource,
  };
  return strcmp(id, LOADER_EXT_RESOURCES) == 0 ? &resources : NULL;
}

const loader_wrapper_t* loader_wrapper(void) {
  static const loader_wrapper_t table = {
      .abi_major = LOADER_ABI_MAJOR,
      .abi_minor = LOADER_ABI_MINOR,
      .struct_size = sizeof(loader_wrapper_t),
      .name = "inline_probe",
      .version = "1.0.0",
      .describe = describe,
      .init = init,
      .fini = fini,
      .exec = exec,
      .create = create,
      .write = write_frame,
      .cancel = cancel,
      .destroy = destroy,
      .get_extension = get_extension,
  };
  return &table;
}
