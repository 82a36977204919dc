// The tags given to AIGES libraries, and whose callbacks they are. A library calls back with a tag
// and nothing else, so this table is the process's own: the one place that C functions without a
// context can ask. A tag is known by its text: a library may call with a copy.
//
// The text stays readable after its session: until kKept further ones have ended.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "host/aiges/instance.h"

namespace loader::host::aiges {

// A session or exec that a library may call back.
class Listener {
 public:
  Listener(std::shared_ptr<Instance> instance, loader_handle_t handle)
      : instance_(std::move(instance)), handle_(handle) {}
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  virtual ~Listener() = default;

  // 0: taken; -1: it is over. Any thread.
  virtual int on_results(DataList* results, int ret) noexcept = 0;
  Instance& instance() const { return *instance_; }
  loader_handle_t handle() const { return handle_; }

 private:
  const std::shared_ptr<Instance> instance_;
  const loader_handle_t handle_;
};

// A callback in progress: it holds up the end of the instance.
class Visit {
 public:
  Visit() = default;
  explicit Visit(std::shared_ptr<Listener> listener) : listener_(std::move(listener)) {
    listener_->instance().enter();
  }
  Visit(Visit&& other) noexcept = default;
  Visit& operator=(Visit&& other) noexcept {
    std::swap(listener_, other.listener_);
    return *this;
  }
  ~Visit() {
    if (listener_) listener_->instance().leave();
  }
  explicit operator bool() const { return listener_ != nullptr; }
  Listener* operator->() const { return listener_.get(); }

 private:
  std::shared_ptr<Listener> listener_;
};

class Tags {
 public:
  static constexpr size_t kKept = 65'536;

  explicit Tags(size_t kept = kKept) : kept_(kept) {}
  static Tags& of_process();

  // A new tag, of 26 characters like AIGES's own.
  const char* add(std::shared_ptr<Listener> listener);
  Visit find(const char* tag);
  void remove(const char* tag);
  void remove_all(const Instance& instance);

 private:
  static constexpr size_t kTagBytes = 26;
  using Text = std::array<char, kTagBytes + 1>;
  struct Entry {
    std::unique_ptr<Text> text;
    std::shared_ptr<Listener> listener;
  };
  using Entries = std::unordered_map<std::string_view, Entry>;
  Entries::iterator end(Entries::iterator entry);

  const size_t kept_;
  std::mutex mutex_;
  uint64_t last_ = 0;
  Entries open_;  // keys are the entries' own texts
  std::deque<std::unique_ptr<Text>> ended_;
};

}  // namespace loader::host::aiges
