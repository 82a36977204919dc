#include "host/aiges/callbacks.h"

#include "host/aiges/tags.h"

namespace loader::host::aiges {

namespace {

// What `call` answers for the session of that tag; `otherwise` where there is none.
template <typename Call>
int visit(const char* tag, int otherwise, Call&& call) noexcept {
  try {
    const Visit visit = Tags::of_process().find(tag);
    return visit ? call(*visit.operator->()) : otherwise;
  } catch (...) {  // no memory
    return otherwise;
  }
}

}  // namespace

int on_results(const char* tag, DataList* results, int ret) noexcept {
  return visit(tag, -1, [&](Listener& listener) { return listener.on_results(results, ret); });
}

int on_meter(const char* tag, const char* key, int count) noexcept {
  if (key == nullptr) return kBadCustom;
  return visit(tag, kBadHandle, [&](Listener& listener) {
    const loader_host_t& host = listener.instance().host();
    host.meter(host.host, listener.handle(), key, count);
    return 0;
  });
}

int on_trace(const char* tag, const char* key, const char* value) noexcept {
  if (key == nullptr) return kBadCustom;
  return visit(tag, kBadHandle, [&](Listener& listener) {
    const loader_host_t& host = listener.instance().host();
    host.trace(host.host, listener.handle(), key, value == nullptr ? "" : value);
    return 0;
  });
}

}  // namespace loader::host::aiges
