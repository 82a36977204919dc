/* Extension loader.warmup/1: the engine makes itself fast before it is called ready.
 * Without it, an engine is ready when init has returned. */
#ifndef LOADER_EXT_WARMUP_H
#define LOADER_EXT_WARMUP_H

#include "loader/wrapper.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LOADER_EXT_WARMUP "loader.warmup/1"

typedef struct loader_ext_warmup {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  /* Runs after init, before the first session; counted inside init_timeout_s. An error fails the
   * start of the instance.
   * [thread: main] [when: ready] [blocks: yes] [owns: caller] */
  loader_status_t (*warm_up)(void* instance, loader_error_t* error);
} loader_ext_warmup_t;

#ifdef __cplusplus
}
#endif

#endif /* LOADER_EXT_WARMUP_H */
