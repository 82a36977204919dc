/* The one thing that the hostile wrapper cannot do in C. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <loader/wrapper.h>

#ifdef __cplusplus
extern "C" {
#endif

void hostile_throw(void);

#ifdef __cplusplus
}
#endif

#endif
