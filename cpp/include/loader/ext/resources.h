/* Extension loader.resources/1: resources of single users that are loaded and unloaded while the
 * engine serves: a vocabulary, a voice. A session or call names those it wants in its parameter
 * `resource_ids`, a list of numbers: they are loaded by then, and stay until it has ended. An
 * instance that starts is given all resources of its engine after its warm-up, before its first
 * session. Without it, an engine knows only what its init loaded. */
#ifndef LOADER_EXT_RESOURCES_H
#define LOADER_EXT_RESOURCES_H

#include "loader/wrapper.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LOADER_EXT_RESOURCES "loader.resources/1"

typedef struct loader_ext_resources {
  uint32_t struct_size;
  uint32_t reserved; /* 0 */
  /* Loads `resource` (its key, data and attributes, in this order) under a number that the caller
   * chose. A number that is loaded already is loaded again: the new one takes its place.
   * [thread: any] [when: ready] [blocks: yes] [owns: caller] */
  loader_status_t (*load)(void* instance, uint32_t id, const loader_item_t* resource,
                          loader_error_t* error);
  /* Frees it. The caller sees to it that no session uses it any more.
   * [thread: any] [when: ready] [blocks: yes] [owns: caller] */
  loader_status_t (*unload)(void* instance, uint32_t id, loader_error_t* error);
} loader_ext_resources_t;

#ifdef __cplusplus
}
#endif

#endif /* LOADER_EXT_RESOURCES_H */
