/* Libraries that break the ABI, one for each value of BROKEN. The host must refuse each with both
 * versions or the missing name, the file, and the cure. */
#include <loader/ext/health.h>
#include <loader/wrapper.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define WRONG_MAJOR 1
#define MISSING_ENTRY 2
#define TRUNCATED 3
#define NOT_A_WRAPPER 4
#define UNRESOLVED 5
#define NULL_TABLE 6
#define MISSING_DESTROY 7
#define BAD_DESCRIBE 8
#define DYING_DESCRIBE 9
#define SHORT_EXTENSION 10
#define NEWER 11 /* good: of a later minor, with a longer table */
#define OLDER 12 /* good: of the first minor */

#if BROKEN == NOT_A_WRAPPER
LOADER_EXPORT int answer(void) {
  return 42;
}
#else

extern void a_function_that_nobody_defines(void);

static loader_status_t init(const loader_host_t* host, const loader_config_t* config,
                            void** instance, loader_error_t* error) {
  (void)host, (void)config, (void)instance, (void)error;
#if BROKEN == UNRESOLVED
  a_function_that_nobody_defines();
#endif
  return LOADER_OK;
}

static void fini(void* instance) {
  (void)instance;
}

static loader_status_t create(void* instance, loader_handle_t handle, const loader_open_t* open,
                              void** session, loader_error_t* error) {
  (void)instance, (void)handle, (void)open, (void)session, (void)error;
  return LOADER_OK;
}

static loader_status_t write_frame(void* session, loader_handle_t call, loader_frame_t* frame,
                                   loader_error_t* error) {
  (void)session, (void)call, (void)frame, (void)error;
  return LOADER_OK;
}

static void destroy(void* session, int32_t reason) {
  (void)session, (void)reason;
}

static const char* describe(void) {
  if (BROKEN == DYING_DESCRIBE) abort();
  return BROKEN == BAD_DESCRIBE ? "{\"inputs\": [" : "{}";
}

static const void* get_extension(const char* id) {
  static const loader_ext_health_t cut = {.struct_size = 8};
  return BROKEN == SHORT_EXTENSION && strcmp(id, LOADER_EXT_HEALTH) == 0 ? &cut : NULL;
}

const loader_wrapper_t* loader_wrapper(void) {
  static const struct {
    loader_wrapper_t table;
    void* later[8]; /* what this version does not know */
  } whole = {.table = {
                 .abi_major = BROKEN == WRONG_MAJOR ? LOADER_ABI_MAJOR + 1 : LOADER_ABI_MAJOR,
                 .abi_minor = BROKEN == NEWER   ? LOADER_ABI_MINOR + 1
                              : BROKEN == OLDER ? 0
                                                : LOADER_ABI_MINOR,
                 .struct_size = BROKEN == TRUNCATED ? 48
                                : BROKEN == NEWER   ? sizeof whole
                                                    : sizeof(loader_wrapper_t),
                 .name = "broken",
                 .version = "1.0.0",
                 .describe = describe,
                 .init = init,
                 .fini = BROKEN == MISSING_ENTRY ? NULL : fini,
                 .create = create,
                 .write = write_frame,
                 .destroy = BROKEN == MISSING_DESTROY ? NULL : destroy,
                 .get_extension = get_extension,
             }};
  return BROKEN == NULL_TABLE ? NULL : &whole.table;
}
#endif
