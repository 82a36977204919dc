// One session of an AIGES library: what is called when, which results end it, and what becomes of
// callbacks. Refuses to know how results reach the client (outbox.h) and whose tag is whose
// (tags.h).
//
// The session is final when a result with status END or ONCE was seen, or it failed: later results
// are refused, later input is taken and ignored. What a callback says of a failure is told when it
// comes, behind the results before it; what an entry says is that entry's answer.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "host/aiges/arguments.h"
#include "host/aiges/instance.h"
#include "host/aiges/outbox.h"
#include "host/aiges/tags.h"
#include "loader/wrapper.h"

namespace loader::host::aiges {

class Stream final : public Listener {
 public:
  Stream(std::shared_ptr<Instance> instance, loader_handle_t handle);

  // The entries of loader_wrapper_t. `tag` is this session's; it is removed by destroy, or by a
  // create that fails.
  loader_status_t create(const char* tag, Opening opening, loader_error_t& error);
  loader_status_t write(loader_handle_t call, const loader_frame_t& frame, loader_error_t& error);
  loader_status_t end(loader_handle_t call, loader_error_t& error);
  void cancel();
  void destroy();

  int on_results(DataList* results, int ret) noexcept override;

 private:
  // One key of the input.
  struct Input {
    std::string key;
    uint32_t type = 0;
    bool is_ended = false;
  };

  bool is_async() const;
  // ---- the session's own calls
  void add_items(Arguments& arguments, const loader_frame_t& frame);
  int note(const loader_item_t& item);
  bool are_all_ended() const;
  loader_status_t pass_in(loader_handle_t call, Arguments& arguments, bool is_last,
                          loader_error_t& error);
  loader_status_t after_write(loader_handle_t call, bool is_last, loader_error_t& error);
  loader_status_t read_until_final(loader_error_t& error);
  loader_status_t read_once(bool& is_empty, loader_error_t& error);
  loader_status_t wait_for_final(loader_handle_t call);
  loader_status_t fail(const Failure& failure, loader_error_t& error);
  // ---- under mutex_
  bool is_finished() const { return is_final_ && held_.empty(); }
  void take(std::unique_ptr<ResultFrame> result);
  void send(std::unique_ptr<ResultFrame> result);
  void send_held();
  void set_final(const Failure& failure);

  const std::shared_ptr<Outbox> outbox_;
  const char* tag_ = nullptr;
  const void* session_ = nullptr;  // the library's
  std::vector<Input> inputs_;

  std::mutex mutex_;  // everything below
  std::condition_variable cancelled_;
  bool is_cancelled_ = false;
  bool is_final_ = false;
  bool is_input_over_ = false;
  bool has_failed_ = false;           // by callback
  loader_handle_t waiting_call_ = 0;  // PENDING, until final
  // Results before the last input, where the configuration wants none before it.
  std::vector<std::unique_ptr<ResultFrame>> held_;
  uint64_t held_bytes_ = 0;
};

}  // namespace loader::host::aiges
