/* The smallest complete AIGES library: what comes in goes out, in one-shot calls and in sessions,
 * read by the loader (asyncMode false). Copy it to begin your own. */
#include <stdlib.h>
#include <string.h>

#include "aiges.h"

static pDataList copy_of(pDataList from) {
  if (from == NULL) return NULL;
  pDataList node = calloc(1, sizeof *node);
  node->key = strdup(from->key);
  node->data = malloc(from->len + 1);
  memcpy(node->data, from->data, from->len);
  node->len = from->len;
  node->type = from->type;
  node->status = from->status;
  node->next = copy_of(from->next);
  return node;
}

static void free_list(pDataList node) {
  while (node != NULL) {
    pDataList next = node->next;
    free(node->key);
    free(node->data);
    free(node);
    node = next;
  }
}

typedef struct Session {
  pDataList waiting; /* what the next wrapperRead gives */
  pDataList given;   /* what the last one gave: ours until the next call */
} Session;

int wrapperInit(pConfig cfg) {
  (void)cfg;
  return 0;
}

int wrapperFini(void) {
  return 0;
}

const char* wrapperError(int errNum) {
  return errNum == 1 ? "no memory" : "unknown error";
}

const char* wrapperVersion(void) {
  return "1.0.0";
}

int wrapperExec(const char* usrTag, pParamList params, pDataList reqData, pDataList* respData,
                unsigned int psrIds[], int psrCnt) {
  (void)usrTag, (void)params, (void)psrIds, (void)psrCnt;
  *respData = copy_of(reqData);
  return 0;
}

int wrapperExecFree(const char* usrTag, pDataList* respData) {
  (void)usrTag;
  free_list(*respData);
  return 0;
}

const void* wrapperCreate(const char* usrTag, pParamList params, wrapperCallback cb,
                          unsigned int psrIds[], int psrCnt, int* errNum) {
  (void)usrTag, (void)params, (void)cb, (void)psrIds, (void)psrCnt;
  Session* session = calloc(1, sizeof *session);
  *errNum = session == NULL ? 1 : 0;
  return session;
}

int wrapperWrite(const void* handle, pDataList reqData) {
  Session* session = (Session*)handle;
  pDataList* last = &session->waiting;
  while (*last != NULL) last = &(*last)->next;
  *last = copy_of(reqData);
  return 0;
}

int wrapperRead(const void* handle, pDataList* respData) {
  Session* session = (Session*)handle;
  free_list(session->given);
  session->given = session->waiting;
  session->waiting = NULL;
  *respData = session->given;
  return 0;
}

int wrapperDestroy(const void* handle) {
  Session* session = (Session*)handle;
  free_list(session->waiting);
  free_list(session->given);
  free(session);
  return 0;
}
