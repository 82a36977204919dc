/* Extension loader.health/1: the engine says whether it can still serve.
 * Without it, an instance is healthy while its host answers pings. */
#ifndef LOADER_EXT_HEALTH_H
#define LOADER_EXT_HEALTH_H

#include "loader/wrapper.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LOADER_EXT_HEALTH "loader.health/1"

typedef struct loader_ext_health {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  /* LOADER_OK: healthy. An error: the instance takes no new work and is replaced.
   * [thread: any] [when: ready] [blocks: yes] [owns: caller] */
  loader_status_t (*check)(void* instance, loader_error_t* error);
} loader_ext_health_t;

#ifdef __cplusplus
}
#endif

#endif /* LOADER_EXT_HEALTH_H */
