#include "host/aiges/stream.h"

#include <chrono>
#include <stdexcept>
#include <utility>

#include "host/aiges/callbacks.h"
#include "host/aiges/result.h"

namespace loader::host::aiges {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// After the last input an empty read is tried again, at first soon, then every 50 ms; after 100
// times 50 ms without any result the library has no more.
constexpr milliseconds kFirstPause{1};
constexpr milliseconds kPause{50};
constexpr milliseconds kGiveUp{100 * 50};
// What the library may have delivered before the last input where none is wanted, each result with
// so much beside its data.
constexpr uint64_t kMostHeldBytes = 32u << 20;
constexpr uint64_t kResultBytes = 4096;
constexpr const char* kHeldTooMuch =
    "more than 32 MiB of results before the last input, and config.aiges.real_time_result is "
    "false, which keeps them until then: set it to true";
// How long one of its threads may wait for a client that does not read.
constexpr std::chrono::seconds kMostWait{15};
constexpr std::chrono::hours kOwnWait{24 * 365};

// The stream whose entry runs on this thread: its callbacks may wait for the client.
thread_local const Stream* entered = nullptr;

class Entered {
 public:
  explicit Entered(const Stream* stream) : outer_(std::exchange(entered, stream)) {}
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;
  ~Entered() { entered = outer_; }

 private:
  const Stream* outer_;
};

bool is_last_status(uint32_t status) {
  return status == LOADER_STATUS_END || status == LOADER_STATUS_ONCE;
}

std::string_view key_of(const loader_item_t& item) {
  return item.key.size == 0 ? std::string_view() : std::string_view(item.key.data, item.key.size);
}

}  // namespace

Stream::Stream(std::shared_ptr<Instance> instance, loader_handle_t handle)
    : Listener(instance, handle), outbox_(std::make_shared<Outbox>(std::move(instance), handle)) {}

// A library without wrapperRead has no other way.
bool Stream::is_async() const {
  return instance().settings().is_async || instance().functions().read == nullptr;
}

// ---- create

loader_status_t Stream::create(const char* tag, Opening opening, loader_error_t& error) {
  const Entered here(this);
  tag_ = tag;
  Arguments arguments;
  unsigned int* ids = opening.resources.empty() ? nullptr : opening.resources.data();
  int number = 0;
  Failure failure = instance().run(kCreateFailed, [&] {
    session_ = instance().functions().create(tag, arguments.pairs(opening.params),
                                             is_async() ? &aiges::on_results : nullptr, ids,
                                             static_cast<int>(opening.resources.size()), &number);
    return number;
  });
  if (!failure && session_ == nullptr)
    failure = {kCreateFailed, "wrapperCreate returned no handle;code=0"};
  if (!failure) return LOADER_OK;
  {
    std::lock_guard lock(mutex_);
    is_final_ = true;
  }
  outbox_->close();
  Tags::of_process().remove(tag);
  return tell(failure, error);
}

// ---- input

loader_status_t Stream::write(loader_handle_t call, const loader_frame_t& frame,
                              loader_error_t& error) {
  const Entered here(this);
  {
    std::lock_guard lock(mutex_);
    if (is_finished() || frame.item_count == 0) return LOADER_OK;
  }
  Arguments arguments;
  add_items(arguments, frame);
  return pass_in(call, arguments, are_all_ended(), error);
}

// A client that says no status ends its input with `end`: the library hears of it in its own way,
// by an empty node with status END for each key.
loader_status_t Stream::end(loader_handle_t call, loader_error_t& error) {
  const Entered here(this);
  bool is_input_over = false;
  {
    std::lock_guard lock(mutex_);
    if (has_failed_) return LOADER_PENDING;
    if (is_finished() || inputs_.empty()) return LOADER_OK;
    is_input_over = is_input_over_;
  }
  if (is_input_over) return is_async() ? wait_for_final(call) : LOADER_OK;
  Arguments arguments;
  for (Input& input : inputs_) {
    if (std::exchange(input.is_ended, true)) continue;
    loader_item_t last{};
    last.key = {input.key.data(), input.key.size()};
    last.type = input.type;
    arguments.add_item(last, kEnd);
  }
  return pass_in(call, arguments, true, error);
}

void Stream::add_items(Arguments& arguments, const loader_frame_t& frame) {
  const auto* first = reinterpret_cast<const unsigned char*>(frame.items);
  for (uint32_t i = 0; i < frame.item_count; ++i) {
    const auto& item = *reinterpret_cast<const loader_item_t*>(first + size_t{i} * frame.item_size);
    arguments.add_item(item, note(item));
  }
}

// The status the library sees: the client's, or, where it says none, the natural one.
int Stream::note(const loader_item_t& item) {
  const std::string_view key = key_of(item);
  for (Input& input : inputs_) {
    if (input.key != key) continue;
    input.is_ended = is_last_status(item.status);
    return item.status == LOADER_STATUS_UNSPECIFIED ? kContinue : static_cast<int>(item.status) - 1;
  }
  inputs_.push_back({std::string(key), item.type, is_last_status(item.status)});
  return item.status == LOADER_STATUS_UNSPECIFIED ? kBegin : static_cast<int>(item.status) - 1;
}

bool Stream::are_all_ended() const {
  for (const Input& input : inputs_)
    if (!input.is_ended) return false;
  return !inputs_.empty();
}

loader_status_t Stream::pass_in(loader_handle_t call, Arguments& arguments, bool is_last,
                                loader_error_t& error) {
  Failure failure = instance().run(
      kWriteFailed, [&] { return instance().functions().write(session_, arguments.nodes()); });
  if (failure) return fail(failure, error);
  return after_write(call, is_last, error);
}

loader_status_t Stream::after_write(loader_handle_t call, bool is_last, loader_error_t& error) {
  if (is_last) {
    std::lock_guard lock(mutex_);
    is_input_over_ = true;
    send_held();
  }
  if (is_async()) return is_last ? wait_for_final(call) : LOADER_OK;
  if (is_last) return read_until_final(error);
  bool is_empty = false;
  return instance().settings().reads_while_writing ? read_once(is_empty, error) : LOADER_OK;
}

loader_status_t Stream::fail(const Failure& failure, loader_error_t& error) {
  std::lock_guard lock(mutex_);
  is_final_ = true;
  held_.clear();
  return tell(failure, error);
}

// ---- results that are read

loader_status_t Stream::read_until_final(loader_error_t& error) {
  Clock::duration waited{0};
  milliseconds pause = kFirstPause;
  while (waited <= kGiveUp) {
    bool is_empty = false;
    const loader_status_t status = read_once(is_empty, error);
    std::unique_lock lock(mutex_);
    if (status != LOADER_OK || is_final_) return status;
    if (!is_empty) {
      waited = Clock::duration{0};
      pause = kFirstPause;
      continue;
    }
    const Clock::time_point before = Clock::now();
    if (cancelled_.wait_for(lock, pause, [this] { return is_cancelled_; }))
      return LOADER_ERROR_CLOSED;
    waited += Clock::now() - before;
    pause = std::min(pause * 2, kPause);
  }
  return LOADER_OK;
}

loader_status_t Stream::read_once(bool& is_empty, loader_error_t& error) {
  DataList* results = nullptr;
  Failure failure =
      instance().run(kReadFailed, [&] { return instance().functions().read(session_, &results); });
  if (failure) return fail(failure, error);
  is_empty = results == nullptr;
  if (is_empty) return LOADER_OK;
  try {
    ResultFrame result(results, ValueEnd::kByLength, false);
    const loader_host_t& host = instance().host();
    const loader_status_t status = host.emit(host.host, handle(), &result.frame(), 0);
    if (status == LOADER_ERROR_ARGUMENT) return fail(thrown(kReadFailed, kUnsendable), error);
    std::lock_guard lock(mutex_);
    is_final_ = is_final_ || result.is_final();
    return status;
  } catch (const std::exception& wrong) {
    return fail(thrown(kReadFailed, wrong.what()), error);
  }
}

// ---- results that come by callback

// A call that finds the session failed is void: the failure is told, or on its way.
loader_status_t Stream::wait_for_final(loader_handle_t call) {
  std::lock_guard lock(mutex_);
  if (is_cancelled_) return LOADER_ERROR_CLOSED;
  if (has_failed_) return LOADER_PENDING;
  waiting_call_ = call;
  if (is_final_) set_final({});
  return LOADER_PENDING;
}

int Stream::on_results(DataList* results, int ret) noexcept {
  try {
    // The library is asked for its text, and the lists are read, without our lock.
    const Failure failure = ret == 0 ? Failure{} : instance().explained(kCallbackFailed, ret);
    auto result =
        failure ? nullptr : std::make_unique<ResultFrame>(results, ValueEnd::kByNul, false);
    {
      std::lock_guard lock(mutex_);
      if (is_final_ || is_cancelled_) return -1;
      if (failure) {
        set_final(failure);
        return 0;
      }
      take(std::move(result));
    }
    const std::chrono::seconds limit = entered == this ? std::chrono::seconds(kOwnWait) : kMostWait;
    if (outbox_->wait_for_room(limit)) return 0;
    std::lock_guard lock(mutex_);
    if (is_final_) return -1;
    const Failure unread = thrown(kCallbackFailed, "the client does not read its results");
    outbox_->give_up(unread);
    set_final(unread);
    return -1;
  } catch (const std::exception& wrong) {
    std::lock_guard lock(mutex_);
    if (!is_final_) set_final(thrown(kCallbackFailed, wrong.what()));
    return -1;
  }
}

void Stream::take(std::unique_ptr<ResultFrame> result) {
  if (result->empty()) return;
  const bool is_last = result->is_final();
  const bool is_held = !instance().settings().reads_while_writing && !is_input_over_;
  if (is_held) {
    held_bytes_ += result->size_bytes() + kResultBytes;
    if (held_bytes_ > kMostHeldBytes) return set_final(thrown(kCallbackFailed, kHeldTooMuch));
    result->own();
    held_.push_back(std::move(result));
  } else {
    send(std::move(result));
  }
  if (is_last) set_final({});
}

void Stream::send(std::unique_ptr<ResultFrame> result) {
  if (outbox_->post(std::move(result)) == LOADER_ERROR_ARGUMENT)
    throw std::invalid_argument(kUnsendable);
}

void Stream::send_held() {
  for (auto& result : std::exchange(held_, {})) send(std::move(result));
}

// A failure ends the session behind the results, whether a call waits for them or not.
void Stream::set_final(const Failure& failure) {
  is_final_ = true;
  has_failed_ = bool(failure);
  const loader_handle_t call = std::exchange(waiting_call_, 0);
  if (failure) {
    held_.clear();
    outbox_->fail(failure);
  } else if (call != 0) {
    outbox_->finish(call);
  }
}

// ---- the end

void Stream::cancel() {
  std::lock_guard lock(mutex_);
  is_cancelled_ = true;
  cancelled_.notify_all();
  outbox_->close();
}

// Metering works until wrapperDestroy has returned; results are refused from here on.
void Stream::destroy() {
  const Entered here(this);
  {
    std::lock_guard lock(mutex_);
    is_final_ = true;
    held_.clear();
  }
  outbox_->close();
  const Functions& functions = instance().functions();
  if (instance().settings().tells_debug_info && functions.debug_info != nullptr) {
    const char* text = nullptr;
    instance().run(0, [&] { return text = functions.debug_info(session_), 0; });
    if (text != nullptr) instance().log(handle(), LOADER_LOG_INFO, text);
  }
  instance().run(0, [&] { return functions.destroy(session_), 0; });
  Tags::of_process().remove(tag_);
}

}  // namespace loader::host::aiges
