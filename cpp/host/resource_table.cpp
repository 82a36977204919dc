#include "host/resource_table.h"

#include <charconv>
#include <stdexcept>
#include <utility>

#include "loader/errors.h"

namespace loader::host {

namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

// Without the pair of brackets or quotes around it, if there is one.
bool strip(std::string_view& text, char open, char close) {
  const bool has_pair = text.size() >= 2 && text.front() == open && text.back() == close;
  if (has_pair) text = trimmed(text.substr(1, text.size() - 2));
  return has_pair;
}

uint32_t number_in(std::string_view text) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    throw std::invalid_argument("resource_ids: `" + std::string(text.substr(0, 40)) +
                                "` is no number of a resource: give a list such as [1, 2]");
  return number;
}

std::string refusal(uint32_t id, const char* why) {
  return "resource " + std::to_string(id) + " " + why;
}

}  // namespace

std::vector<uint32_t> read_resource_ids(std::string_view json) {
  std::string_view text = trimmed(json);
  const bool is_list = strip(text, '[', ']');
  if (!is_list) strip(text, '"', '"');
  std::vector<uint32_t> ids;
  if (text.empty() || (!is_list && text == "null")) return ids;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string_view one = trimmed(text.substr(begin, end - begin));
    if (is_list) strip(one, '"', '"');
    ids.push_back(number_in(one));
    begin = end + 1;
  }
  return ids;
}

bool ResourceTable::begin_load(uint32_t id) {
  std::lock_guard lock(mutex_);
  Entry& entry = entries_[id];
  if (entry.is_leaving) return false;
  ++entry.loads;
  return true;
}

ResourceTable::Job ResourceTable::end_load(uint32_t id, bool is_loaded) {
  std::lock_guard lock(mutex_);
  Entry& entry = entries_[id];
  --entry.loads;
  entry.is_loaded = entry.is_loaded || is_loaded;
  if (entry.is_leaving && entry.is_idle()) return std::exchange(entry.unload, nullptr);
  if (!entry.is_leaving && !entry.is_loaded && entry.is_idle()) entries_.erase(id);
  return nullptr;
}

bool ResourceTable::leave(uint32_t id, Job unload, Job& now) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.is_leaving) return false;
  Entry& entry = found->second;
  entry.is_leaving = true;
  (entry.is_idle() ? now : entry.unload) = std::move(unload);
  return true;
}

bool ResourceTable::holds(uint32_t id) const {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  return found != entries_.end() && found->second.is_loaded;
}

void ResourceTable::remove(uint32_t id) {
  std::lock_guard lock(mutex_);
  entries_.erase(id);
}

Outcome unknown_resource(std::string why) {
  return {LOADER_ERROR_INVALID_INPUT, std::move(why),
          static_cast<uint16_t>(ErrorCode::UNKNOWN_RESOURCE)};
}

Outcome ResourceTable::use(std::span<const channel::PairView> parameters,
                           std::vector<uint32_t>& used) {
  std::vector<uint32_t> ids;
  for (const channel::PairView& parameter : parameters) {
    if (parameter.key != kResourceIds) continue;
    try {
      ids = read_resource_ids(parameter.value);
    } catch (const std::invalid_argument& wrong) {
      return {LOADER_ERROR_INVALID_INPUT, clean_text(wrong.what()), 0};
    }
  }
  if (ids.empty()) return {};
  if (std::string wrong = take(ids); !wrong.empty()) return unknown_resource(std::move(wrong));
  used = std::move(ids);
  return {};
}

std::string ResourceTable::take(std::span<const uint32_t> ids) {
  std::lock_guard lock(mutex_);
  for (const uint32_t id : ids) {
    const auto found = entries_.find(id);
    if (found == entries_.end() || !found->second.is_loaded)
      return refusal(id, "is not loaded: name one that LoadResource of AdminService has loaded");
    if (found->second.is_leaving) return refusal(id, "is being unloaded: name another");
  }
  for (const uint32_t id : ids) ++entries_[id].uses;
  return {};
}

std::vector<ResourceTable::Job> ResourceTable::release(std::span<const uint32_t> ids) {
  std::vector<Job> jobs;
  std::lock_guard lock(mutex_);
  for (const uint32_t id : ids) {
    Entry& entry = entries_[id];
    --entry.uses;
    if (entry.is_leaving && entry.is_idle()) jobs.push_back(std::exchange(entry.unload, nullptr));
  }
  return jobs;
}

}  // namespace loader::host
