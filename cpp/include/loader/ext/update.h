/* Extension loader.update/1: the engine takes a changed `config` while it runs.
 * Without it, a changed `config` replaces the instance. */
#ifndef LOADER_EXT_UPDATE_H
#define LOADER_EXT_UPDATE_H

#include "loader/wrapper.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LOADER_EXT_UPDATE "loader.update/1"

typedef struct loader_ext_update {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  /* Applies `config` to sessions opened later; open ones keep what they have. An error leaves the
   * old configuration in force and its text says why; the instance is then replaced.
   * [thread: main] [when: ready] [blocks: yes] [owns: caller] */
  loader_status_t (*update)(void* instance, const loader_config_t* config, loader_error_t* error);
} loader_ext_update_t;

#ifdef __cplusplus
}
#endif

#endif /* LOADER_EXT_UPDATE_H */
