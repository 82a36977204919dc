/* The C ABI of AIGES as its documentation states it, written from those facts for our fixtures:
 * what a library's author includes. */
#ifndef FIXTURE_AIGES_H
#define FIXTURE_AIGES_H

#define WrapperAPI __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { CTMeterCustom = 0, CTMetricsLog = 1, CTTraceLog = 2 } CtrlType;
typedef enum { DataText = 0, DataAudio = 1, DataImage = 2, DataVideo = 3, DataPer = 4 } DataType;
typedef enum { DataBegin = 0, DataContinue = 1, DataEnd = 2, DataOnce = 3 } DataStatus;

typedef struct ParamList {
  char* key;
  char* value;
  unsigned int vlen;
  struct ParamList* next;
} * pParamList, *pConfig, *pDescList;

typedef struct DataList {
  char* key;
  void* data;
  unsigned int len;
  DataType type;
  DataStatus status;
  pDescList desc;
  struct DataList* next;
} * pDataList;

typedef int (*wrapperCallback)(const char* usrTag, pDataList respData, int ret);
typedef int (*wrapperMeterCustom)(const char* usrTag, const char* meterKey, int count);
typedef int (*wrapperTraceLog)(const char* usrTag, const char* key, const char* value);

WrapperAPI int wrapperSetCtrl(CtrlType type, void* func);
WrapperAPI int wrapperInit(pConfig cfg);
WrapperAPI int wrapperFini(void);
WrapperAPI const char* wrapperError(int errNum);
WrapperAPI const char* wrapperVersion(void);
WrapperAPI int wrapperLoadRes(pDataList perData, unsigned int resId);
WrapperAPI int wrapperUnloadRes(unsigned int resId);
WrapperAPI const void* wrapperCreate(const char* usrTag, pParamList params, wrapperCallback cb,
                                     unsigned int psrIds[], int psrCnt, int* errNum);
WrapperAPI int wrapperWrite(const void* handle, pDataList reqData);
WrapperAPI int wrapperRead(const void* handle, pDataList* respData);
WrapperAPI int wrapperDestroy(const void* handle);
WrapperAPI int wrapperExec(const char* usrTag, pParamList params, pDataList reqData,
                           pDataList* respData, unsigned int psrIds[], int psrCnt);
WrapperAPI int wrapperExecFree(const char* usrTag, pDataList* respData);
WrapperAPI int wrapperExecAsync(const char* usrTag, pParamList params, pDataList reqData,
                                wrapperCallback callback, int timeout, unsigned int psrIds[],
                                int psrCnt);
WrapperAPI const char* wrapperDebugInfo(const void* handle);

#ifdef __cplusplus
}
#endif

#endif /* FIXTURE_AIGES_H */
