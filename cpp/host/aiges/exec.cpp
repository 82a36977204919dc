#include "host/aiges/exec.h"

#include <atomic>
#include <stdexcept>
#include <utility>

#include "host/aiges/arguments.h"
#include "host/aiges/callbacks.h"
#include "host/aiges/outbox.h"
#include "host/aiges/result.h"
#include "host/aiges/tags.h"

namespace loader::host::aiges {

namespace {

// A call whose results are returned: its tag is good for metering and traces only.
class ReturningCall final : public Listener {
 public:
  using Listener::Listener;
  int on_results(DataList*, int) noexcept override { return -1; }
};

// A call whose result comes by callback: the first one ends it, whatever its status.
class CallingBack final : public Listener {
 public:
  CallingBack(std::shared_ptr<Instance> instance, loader_handle_t handle)
      : Listener(instance, handle),
        outbox_(std::make_shared<Outbox>(std::move(instance), handle)) {}
  void set_tag(const char* tag) { tag_ = tag; }
  // The library refused the call: nothing it calls back counts.
  void abandon() { is_over_.store(true); }

  int on_results(DataList* results, int ret) noexcept override {
    if (is_over_.exchange(true)) return -1;
    Failure failure = ret == 0 ? send(results) : instance().explained(kCallbackFailed, ret);
    try {
      outbox_->finish(handle(), failure);
    } catch (...) {  // no memory, no thread: the call is hung, and reported as such
    }
    Tags::of_process().remove(tag_);
    return 0;
  }

 private:
  Failure send(DataList* results) noexcept {
    try {
      auto result = std::make_unique<ResultFrame>(results, ValueEnd::kByNul, true);
      if (result->empty()) return {};
      const loader_status_t status = outbox_->post(std::move(result));
      if (status == LOADER_OK || status == LOADER_ERROR_CLOSED) return {};
      return thrown(kCallbackFailed, kUnsendable);
    } catch (const std::exception& error) {
      return thrown(kCallbackFailed, error.what());
    }
  }

  const std::shared_ptr<Outbox> outbox_;
  const char* tag_ = nullptr;  // set before the library knows it
  std::atomic<bool> is_over_{false};
};

struct Ids {
  explicit Ids(std::vector<unsigned int>& ids)
      : first(ids.empty() ? nullptr : ids.data()), count(static_cast<int>(ids.size())) {}
  unsigned int* first;
  int count;
};

// What the caller left open is done once, at the end.
int status_of(const loader_item_t& item) {
  return item.status == LOADER_STATUS_UNSPECIFIED ? kOnce : static_cast<int>(item.status) - 1;
}

void add_request(Arguments& arguments, const loader_frame_t& request) {
  const auto* first = reinterpret_cast<const unsigned char*>(request.items);
  for (uint32_t i = 0; i < request.item_count; ++i) {
    const auto& item =
        *reinterpret_cast<const loader_item_t*>(first + size_t{i} * request.item_size);
    arguments.add_item(item, status_of(item));
  }
}

loader_status_t emit_all(const Instance& instance, loader_handle_t call, const DataList* results,
                         loader_error_t& error) {
  try {
    ResultFrame result(results, ValueEnd::kByLength, true);
    if (result.empty()) return LOADER_OK;
    const loader_host_t& host = instance.host();
    const loader_status_t status = host.emit(host.host, call, &result.frame(), 0);
    if (status != LOADER_ERROR_ARGUMENT) return status;
    return tell(thrown(kExecFailed, kUnsendable), error);
  } catch (const std::exception& wrong) {
    return tell(thrown(kExecFailed, wrong.what()), error);
  }
}

// The tag lives until wrapperExecFree has returned, which gets the head that wrapperExec gave.
loader_status_t exec_returning(const std::shared_ptr<Instance>& instance, loader_handle_t call,
                               Opening& opening, Arguments& arguments, loader_error_t& error) {
  const Functions& functions = instance->functions();
  const char* tag = Tags::of_process().add(std::make_shared<ReturningCall>(instance, call));
  const Ids ids(opening.resources);
  DataList* results = nullptr;
  Failure failure = instance->run(kExecFailed, [&] {
    return functions.exec(tag, arguments.pairs(opening.params), arguments.nodes(), &results,
                          ids.first, ids.count);
  });
  loader_status_t status = LOADER_OK;
  if (failure) {
    status = tell(failure, error);
  } else {
    DataList* head = results;  // what a careless ExecFree does to its argument is not ours
    status = emit_all(*instance, call, results, error);
    if (functions.exec_free != nullptr) {
      failure = instance->run(kExecFailed, [&] { return functions.exec_free(tag, &head), 0; });
      if (failure)
        instance->log(call, LOADER_LOG_WARNING, "wrapperExecFree threw: " + failure.text);
    }
  }
  Tags::of_process().remove(tag);
  return status;
}

loader_status_t exec_calling_back(const std::shared_ptr<Instance>& instance, loader_handle_t call,
                                  Opening& opening, Arguments& arguments, loader_error_t& error) {
  const auto listener = std::make_shared<CallingBack>(instance, call);
  const char* tag = Tags::of_process().add(listener);
  listener->set_tag(tag);
  const Ids ids(opening.resources);
  const Failure failure = instance->run(kExecFailed, [&] {
    return instance->functions().exec_async(tag, arguments.pairs(opening.params), arguments.nodes(),
                                            on_results, 0, ids.first, ids.count);
  });
  if (!failure) return LOADER_PENDING;
  listener->abandon();
  Tags::of_process().remove(tag);
  return tell(failure, error);
}

}  // namespace

loader_status_t exec(const std::shared_ptr<Instance>& instance, loader_handle_t call,
                     const loader_open_t& open, const loader_frame_t& request,
                     loader_error_t& error) {
  // AIGES never calls with an empty list, and libraries do not look.
  if (request.item_count == 0)
    throw std::invalid_argument("the request has no item: an AIGES library needs at least one");
  Opening opening = instance->opening(open);
  Arguments arguments;
  add_request(arguments, request);
  const Functions& functions = instance->functions();
  const bool calls_back = functions.exec == nullptr ||
                          (instance->settings().is_async && functions.exec_async != nullptr);
  return calls_back ? exec_calling_back(instance, call, opening, arguments, error)
                    : exec_returning(instance, call, opening, arguments, error);
}

}  // namespace loader::host::aiges
