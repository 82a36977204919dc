#include "host/aiges/tags.h"

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <vector>

namespace loader::host::aiges {

Tags& Tags::of_process() {
  // Never destroyed: a library's thread may call back while the process ends.
  static Tags& tags = *std::make_unique<Tags>().release();
  return tags;
}

const char* Tags::add(std::shared_ptr<Listener> listener) {
  auto text = std::make_unique<Text>();
  std::lock_guard lock(mutex_);
  std::snprintf(text->data(), text->size(), "%010x%016llx", static_cast<unsigned>(::getpid()),
                static_cast<unsigned long long>(++last_));
  const char* tag = text->data();
  open_.emplace(std::string_view(tag, kTagBytes), Entry{std::move(text), std::move(listener)});
  return tag;
}

Visit Tags::find(const char* tag) {
  if (tag == nullptr) return {};
  const std::string_view text(tag, ::strnlen(tag, kTagBytes + 1));
  std::lock_guard lock(mutex_);
  const auto found = open_.find(text);
  return found == open_.end() ? Visit() : Visit(found->second.listener);
}

void Tags::remove(const char* tag) {
  std::shared_ptr<Listener> last;  // its end may be the listener's, which needs no lock of ours
  std::lock_guard lock(mutex_);
  const auto found = open_.find(std::string_view(tag, kTagBytes));
  if (found == open_.end()) return;
  last = found->second.listener;
  end(found);
}

void Tags::remove_all(const Instance& instance) {
  std::vector<std::shared_ptr<Listener>> last;
  std::lock_guard lock(mutex_);
  for (auto entry = open_.begin(); entry != open_.end();) {
    if (&entry->second.listener->instance() != &instance) {
      ++entry;
      continue;
    }
    last.push_back(entry->second.listener);
    entry = end(entry);
  }
}

Tags::Entries::iterator Tags::end(Entries::iterator entry) {
  ended_.push_back(std::move(entry->second.text));  // outlives its key in the table
  const auto next = open_.erase(entry);
  if (ended_.size() > kept_) ended_.pop_front();
  return next;
}

}  // namespace loader::host::aiges
