// An AIGES library that does what the parameter `do` says, right and wrong, and keeps count.
// Exported functions can be left out: -DNO_READ, -DNO_EXEC, -DNO_ERROR, ...; -DMANGLED defines
// wrapperExec and wrapperExecFree with `const void*`, so that they become C++ overloads.
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "aiges.h"

// What a variant leaves out leaves its parts unused.
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-variable"

namespace {

struct Counters {
  std::atomic<int> created{0}, destroyed{0}, executed{0}, freed{0};
  std::atomic<int> last_return{99};  // of a callback that was one too many
  std::atomic<int> frees_with_wrong_tag{0}, frees_with_wrong_head{0};
};
Counters counters;
std::string config_text;
std::string fini_file;  // where wrapperFini tells what it found
wrapperMeterCustom meter = nullptr;
wrapperTraceLog trace_log = nullptr;
std::string order;  // of what was called around init
std::mutex mutex;   // of both maps
std::map<std::string, pDataList> heads;
std::map<unsigned int, std::string> resources;
std::condition_variable late_done;
bool is_late_done = false;

std::string text_of(const ParamList* list) {
  std::string text;
  for (; list != nullptr; list = list->next) {
    text += std::string(list->key) + "=" + std::string(list->value, list->vlen) + ";";
    if (list->value[list->vlen] != '\0') text += "(no NUL)";
  }
  return text;
}

std::string value_of(const ParamList* list, const std::string& key) {
  for (; list != nullptr; list = list->next)
    if (key == list->key) return list->value;
  return {};
}

char* copied(const std::string& text) {
  char* copy = static_cast<char*>(std::malloc(text.size() + 1));
  std::memcpy(copy, text.data(), text.size());
  copy[text.size()] = '\0';
  return copy;
}

pDataList node_of(const std::string& key, const std::string& data, int type, int status) {
  auto* node = static_cast<pDataList>(std::calloc(1, sizeof(DataList)));
  node->key = copied(key);
  node->data = copied(data);
  node->len = static_cast<unsigned int>(data.size());
  node->type = static_cast<DataType>(type);
  node->status = static_cast<DataStatus>(status);
  return node;
}

void describe(pDataList node, const std::string& key, const std::string& value) {
  auto* pair = static_cast<pParamList>(std::calloc(1, sizeof(ParamList)));
  pair->key = copied(key);
  pair->value = copied(value);
  pair->vlen = static_cast<unsigned int>(value.size());
  pair->next = node->desc;
  node->desc = pair;
}

void free_list(pDataList node) {
  while (node != nullptr) {
    for (pParamList pair = node->desc; pair != nullptr;) {
      pParamList next = pair->next;
      std::free(pair->key);
      std::free(pair->value);
      std::free(pair);
      pair = next;
    }
    pDataList next = node->next;
    std::free(node->key);
    std::free(node->data);
    std::free(node);
    node = next;
  }
}

// What came in, with what the library saw of it as a description.
pDataList echo_of(const DataList* from) {
  pDataList head = nullptr;
  pDataList* last = &head;
  for (; from != nullptr; from = from->next) {
    const std::string data(static_cast<const char*>(from->data), from->len);
    *last = node_of(from->key, data, from->type, from->status);
    const bool ends = static_cast<const char*>(from->data)[from->len] == '\0';
    describe(*last, "seen",
             "type " + std::to_string(from->type) + " status " + std::to_string(from->status) +
                 " desc " + (from->desc == nullptr ? "NULL" : text_of(from->desc)) +
                 (ends ? "" : " without NUL"));
    last = &(*last)->next;
  }
  return head;
}

[[noreturn]] void hang() {
  while (true) ::pause();
}

struct Session {
  Session(std::string what_, const char* tag_, wrapperCallback callback_)
      : what(std::move(what_)), tag(tag_), given_tag(tag_), callback(callback_) {}
  std::string what;
  std::string tag;        // a copy of our own
  const char* given_tag;  // the loader's own memory
  wrapperCallback callback;
  std::deque<pDataList> results;
  pDataList given = nullptr;
  int empty_reads = 0;
  int writes = 0;
  std::vector<std::thread> threads;
};

void call_back(Session& session, pDataList results, int ret) {
  counters.last_return = session.callback(session.tag.c_str(), results, ret);
  free_list(results);
}

void flood(Session& session, int count) {
  for (int i = 0; i < count; ++i)
    call_back(session,
              node_of("n", std::to_string(i) + std::string(20'000, '.'), DataText,
                      i + 1 == count ? DataEnd : DataContinue),
              0);
}

// One thread of the library's for the callbacks of all sessions, as engines with a queue have it.
void post(std::function<void()> job) {
  // Never destroyed: the thread outlives everything.
  static auto& queue_mutex = *new std::mutex;
  static auto& posted = *new std::condition_variable;
  static auto& jobs = *new std::deque<std::function<void()>>;
  static std::once_flag started;
  std::call_once(started, [] {
    std::thread([] {
      while (true) {
        std::unique_lock lock(queue_mutex);
        posted.wait(lock, [] { return !jobs.empty(); });
        const auto next = std::move(jobs.front());
        jobs.pop_front();
        lock.unlock();
        next();
      }
    }).detach();
  });
  std::lock_guard lock(queue_mutex);
  jobs.push_back(std::move(job));
  posted.notify_one();
}

}  // namespace

extern "C" {

#ifndef NO_SETCTRL
int wrapperSetCtrl(CtrlType type, void* func) {
  if (type == CTMeterCustom) order.clear();  // an instance begins
  order += "ctrl" + std::to_string(type) + ";";
  if (type == CTMeterCustom) meter = reinterpret_cast<wrapperMeterCustom>(func);
  if (type == CTTraceLog) trace_log = reinterpret_cast<wrapperTraceLog>(func);
  return 5;  // whatever it says, it is not an error
}
#endif

#ifndef NO_INIT
int wrapperInit(pConfig cfg) {
  order += "init;";
  for (std::atomic<int>* one :
       {&counters.created, &counters.destroyed, &counters.executed, &counters.freed,
        &counters.frees_with_wrong_tag, &counters.frees_with_wrong_head})
    *one = 0;
  counters.last_return = 99;
  config_text = text_of(cfg) + (cfg == nullptr ? "NULL" : "");
  fini_file = value_of(cfg, "fini_file");
  const std::string fail = value_of(cfg, "fail_init");
  if (fail == "throw") throw std::runtime_error("thrown by wrapperInit");
  return fail.empty() ? 0 : std::atoi(fail.c_str());
}
#endif

#ifndef NO_FINI
int wrapperFini() {
  if (!fini_file.empty()) {
    std::ofstream(fini_file, std::ios::app)
        << "created " << counters.created << " destroyed " << counters.destroyed << "\n";
  }
  return 0;
}
#endif

#ifndef NO_ERROR
const char* wrapperError(int errNum) {
  static thread_local std::string text;
  if (errNum == 404) return nullptr;
  text = "text of " + std::to_string(errNum);
  return text.c_str();
}
#endif

const char* wrapperVersion() {
  return "9.8.7";
}

int wrapperLoadRes(pDataList perData, unsigned int resId) {
  if (perData->type != DataPer || perData->status != DataEnd || perData->next != nullptr) return 71;
  if (perData->len == 0) return 72;
  std::lock_guard lock(mutex);
  resources[resId] = std::string(perData->key) + ":" +
                     std::string(static_cast<char*>(perData->data), perData->len) + ":" +
                     text_of(perData->desc);
  return 0;
}

int wrapperUnloadRes(unsigned int resId) {
  std::lock_guard lock(mutex);
  return resources.erase(resId) == 1 ? 0 : 73;
}

// ---- one-shot calls

static std::string report(const std::string& what, pParamList params, unsigned int psrIds[],
                          int psrCnt) {
  if (what == "params") return text_of(params);
  if (what == "config") return config_text;
  if (what == "order") return order;
  if (what == "ids") {
    std::lock_guard lock(mutex);
    std::string text = psrIds == nullptr ? "NULL" : "";
    for (int i = 0; i < psrCnt; ++i) text += std::to_string(psrIds[i]) + "=" + resources[psrIds[i]];
    return text;
  }
  return "created " + std::to_string(counters.created) + " destroyed " +
         std::to_string(counters.destroyed) + " executed " + std::to_string(counters.executed) +
         " freed " + std::to_string(counters.freed) + " wrong " +
         std::to_string(counters.frees_with_wrong_tag + counters.frees_with_wrong_head) + " last " +
         std::to_string(counters.last_return);
}

static int exec(const char* usrTag, pParamList params, pDataList reqData, pDataList* respData,
                unsigned int psrIds[], int psrCnt) {
  const std::string what = value_of(params, "do");
  ++counters.executed;
  if (what == "fail") {
    --counters.executed;
    return 21111;
  }
  if (what == "fail_without_text") return --counters.executed, 404;
  if (what == "throw") {
    --counters.executed;
    throw std::runtime_error("thrown by wrapperExec");
  }
  if (what == "segfault") std::raise(SIGSEGV);
  if (what == "hang") hang();
  const bool is_report = what == "params" || what == "config" || what == "order" || what == "ids" ||
                         what == "counters";
  if (what == "empty") {
    *respData = nullptr;
  } else if (is_report) {
    *respData = node_of("report", report(what, params, psrIds, psrCnt), DataText, DataOnce);
  } else {
    *respData = echo_of(reqData);
  }
  if (what == "scribble") {
    std::memset(reqData->data, 'x', reqData->len);
    reqData->key[0] = 'X';
  }
  if (what == "wrong_len") {
    std::free((*respData)->data);
    (*respData)->data = nullptr;
    (*respData)->len = 5;
  }
  if (what == "bad_status") (*respData)->status = static_cast<DataStatus>(77);
  if (what == "not_utf8") {
    describe(*respData, "text", "\xc4\xe3");
    std::memcpy((*respData)->data, "\xc4\xe3", 2);
  }
  if (what == "empty_desc") describe(*respData, "none", "");
  if (what == "twice") {
    (*respData)->next = node_of((*respData)->key, "second", DataText, DataOnce);
  }
  if (what == "meter") {
    const int metered = meter(usrTag, "chars", 5);
    const int traced = trace_log(usrTag, "step", "done");
    const int unknown = meter("not a tag", "chars", 5);
    describe(
        *respData, "returned",
        std::to_string(metered) + " " + std::to_string(traced) + " " + std::to_string(unknown));
  }
  if (*respData != nullptr) {
    std::lock_guard lock(mutex);
    heads[usrTag] = *respData;
  }
  return 0;
}

static int exec_free(const char* usrTag, pDataList* respData) {
  ++counters.freed;
  if (*respData == nullptr) return 0;
  std::lock_guard lock(mutex);
  const auto found = heads.find(usrTag);  // reads the tag: it must be alive
  if (found == heads.end()) return ++counters.frees_with_wrong_tag, 1;
  if (found->second != *respData) ++counters.frees_with_wrong_head;
  heads.erase(found);
  free_list(*respData);
  *respData = nullptr;
  return 0;
}

#ifdef MANGLED
}
WrapperAPI int wrapperExec(const void* usrTag, pParamList params, pDataList reqData,
                           pDataList* respData, unsigned int psrIds[], int psrCnt) {
  return exec(static_cast<const char*>(usrTag), params, reqData, respData, psrIds, psrCnt);
}
WrapperAPI int wrapperExecFree(const void* usrTag, pDataList* respData) {
  return exec_free(static_cast<const char*>(usrTag), respData);
}
extern "C" {
#elif !defined(NO_EXEC)
int wrapperExec(const char* usrTag, pParamList params, pDataList reqData, pDataList* respData,
                unsigned int psrIds[], int psrCnt) {
  return exec(usrTag, params, reqData, respData, psrIds, psrCnt);
}
int wrapperExecFree(const char* usrTag, pDataList* respData) {
  return exec_free(usrTag, respData);
}
#endif

#ifndef NO_EXECASYNC
int wrapperExecAsync(const char* usrTag, pParamList params, pDataList reqData,
                     wrapperCallback callback, int timeout, unsigned int psrIds[], int psrCnt) {
  if (timeout != 0) return 1;
  const std::string what = value_of(params, "do");
  if (what == "fail") return 21111;
  const std::string tag = usrTag;  // a copy: content is what counts
  if (what == "wait_late") {       // until the late callback of a destroyed session has returned
    std::unique_lock lock(mutex);
    late_done.wait(lock, [] { return is_late_done; });
  }
  const bool is_report = what == "counters" || what == "wait_late";
  const std::string told = report(what, params, psrIds, psrCnt);
  pDataList results = is_report ? node_of("report", told, DataText, DataOnce) : echo_of(reqData);
  const auto answer = [=] {
    callback(tag.c_str(), what == "error" ? nullptr : results, what == "error" ? 33 : 0);
    if (what == "twice") counters.last_return = callback(tag.c_str(), results, 0);
    free_list(results);
  };
  if (what == "inside" || what == "twice") {
    answer();
  } else if (what == "hang") {
    free_list(results);
  } else {
    std::thread(answer).detach();
  }
  return 0;
}
#endif

// ---- sessions

#ifndef NO_CREATE
const void* wrapperCreate(const char* usrTag, pParamList params, wrapperCallback cb, unsigned int[],
                          int, int* errNum) {
  const std::string what = value_of(params, "do");
  *errNum = 0;
  if (what == "create_fails") return *errNum = 44, nullptr;
  if (what == "create_null") return nullptr;
  auto* session = new Session(what, usrTag, cb);
  ++counters.created;
  if (cb != nullptr && what == "early")
    call_back(*session, node_of("n", "early", DataText, DataBegin), 0);
  return session;
}

int wrapperWrite(const void* handle, pDataList reqData) {
  auto& session = *static_cast<Session*>(const_cast<void*>(handle));
  const std::string& what = session.what;
  ++session.writes;
  if (what == "write_fails") return 55;
  if (what == "write_hangs") hang();
  if (what == "write_throws") throw std::runtime_error("thrown by wrapperWrite");
  bool is_last = true;
  for (const DataList* node = reqData; node != nullptr; node = node->next)
    is_last = is_last && (node->status == DataEnd || node->status == DataOnce);
  if (session.callback == nullptr) {
    if (what != "silent") session.results.push_back(echo_of(reqData));
    return 0;
  }
  if (what == "silent") return 0;
  if (what == "error") {
    call_back(session, nullptr, 33);
  } else if (what == "late_error") {
    // Perhaps once the write has returned; copies, for the session may be over by then.
    post([callback = session.callback, tag = session.tag] {
      pDataList result = node_of("n", "before", DataText, DataContinue);
      callback(tag.c_str(), result, 0);
      callback(tag.c_str(), result, 0);
      callback(tag.c_str(), nullptr, 33);
      counters.last_return = callback(tag.c_str(), result, 0);
      free_list(result);
    });
  } else if (what == "end_at_once") {
    call_back(session, node_of("n", "over", DataText, DataEnd), 0);
  } else if (what == "flood" && is_last) {
    session.threads.emplace_back([&session] { flood(session, 400); });
  } else if (what == "flood_inside" && is_last) {
    flood(session, 400);
  } else if (what == "shared") {
    // Copies: the session may be over by then.
    for (int i = 0; i < 20; ++i) {
      post([callback = session.callback, tag = session.tag, i] {
        pDataList result = node_of("n", std::to_string(i), DataText, DataContinue);
        callback(tag.c_str(), result, 0);
        free_list(result);
      });
    }
  } else if (what == "end_twice" && is_last) {
    call_back(session, echo_of(reqData), 0);
    call_back(session, echo_of(reqData), 0);
  } else if (what == "inside" || what == "early") {
    call_back(session, echo_of(reqData), 0);
  } else {
    pDataList results = echo_of(reqData);
    if (!session.threads.empty()) session.threads.back().join(), session.threads.pop_back();
    session.threads.emplace_back([&session, results] { call_back(session, results, 0); });
  }
  return 0;
}

#ifndef NO_READ
int wrapperRead(const void* handle, pDataList* respData) {
  auto& session = *static_cast<Session*>(const_cast<void*>(handle));
  free_list(session.given);
  session.given = nullptr;
  if (session.what == "read_fails") return 66;
  *respData = nullptr;
  if (session.what == "slow" && ++session.empty_reads % 4 != 0) return 0;
  if (session.results.empty()) return 0;
  session.given = session.results.front();
  session.results.pop_front();
  *respData = session.given;
  return 0;
}
#endif

int wrapperDestroy(const void* handle) {
  std::unique_ptr<Session> session(static_cast<Session*>(const_cast<void*>(handle)));
  ++counters.destroyed;
  for (std::thread& thread : session->threads) thread.join();
  for (pDataList results : session->results) free_list(results);
  free_list(session->given);
  if (session->what == "late") {
    // With the loader's own pointer, after the session: its text must still be there.
    std::thread([callback = session->callback, tag = session->given_tag] {
      ::usleep(20'000);
      pDataList results = node_of("n", "late", DataText, DataEnd);
      counters.last_return = callback(tag, results, 0);
      free_list(results);
      std::lock_guard lock(mutex);
      is_late_done = true;
      late_done.notify_all();
    }).detach();
  }
  return 77;  // nobody asks
}
#endif

const char* wrapperDebugInfo(const void* handle) {
  static thread_local std::string text;
  const auto& session = *static_cast<const Session*>(handle);
  text = "debug: " + std::to_string(session.writes) + " writes";
  return text.c_str();
}

}  // extern "C"
