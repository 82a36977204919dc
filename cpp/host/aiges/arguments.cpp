#include "host/aiges/arguments.h"

#include <cstring>
#include <new>

namespace loader::host::aiges {

namespace {

constexpr size_t kLargeBytes = 4096;

std::string_view view(const loader_string_t& text) {
  return text.size == 0 ? std::string_view() : std::string_view(text.data, text.size);
}

int type_of(uint32_t type) {
  switch (type) {
    case LOADER_ITEM_TEXT:
    case LOADER_ITEM_JSON:
      return kText;
    case LOADER_ITEM_AUDIO:
      return kAudio;
    case LOADER_ITEM_IMAGE:
      return kImage;
    case LOADER_ITEM_VIDEO:
      return kVideo;
    default:
      return kPersonal;
  }
}

char* copied(char* to, std::string_view from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
  to[from.size()] = '\0';
  return to;
}

}  // namespace

template <typename Node>
Node* Arguments::make() {
  return new (memory_.allocate(sizeof(Node), alignof(Node))) Node{};
}

char* Arguments::text(std::string_view text) {
  return copied(static_cast<char*>(memory_.allocate(text.size() + 1, 1)), text);
}

// A large one has a block of its own, so that the next small one does not ask for as much again.
char* Arguments::bytes(std::string_view data) {
  if (data.size() < kLargeBytes)
    return copied(static_cast<char*>(memory_.allocate(data.size() + 1, alignof(std::max_align_t))),
                  data);
  large_.push_back(std::make_unique_for_overwrite<char[]>(data.size() + 1));
  return copied(large_.back().get(), data);
}

ParamList* Arguments::pairs(const TextPairs& pairs) {
  ParamList* head = nullptr;
  ParamList** next = &head;
  for (const auto& [key, value] : pairs) {
    *next = make<ParamList>();
    **next = {text(key), text(value), static_cast<unsigned int>(value.size()), nullptr};
    next = &(*next)->next;
  }
  return head;
}

ParamList* Arguments::pairs(const loader_pair_t* pairs, uint32_t count) {
  ParamList* head = nullptr;
  ParamList** next = &head;
  for (uint32_t i = 0; i < count; ++i) {
    const std::string_view value = view(pairs[i].value);
    *next = make<ParamList>();
    **next = {text(view(pairs[i].key)), text(value), static_cast<unsigned int>(value.size()),
              nullptr};
    next = &(*next)->next;
  }
  return head;
}

void Arguments::add_node(std::string_view key, int type, int status, std::string_view data,
                         ParamList* description) {
  auto* node = make<DataList>();
  *node = {text(key),   bytes(data), static_cast<unsigned int>(data.size()), type, status,
           description, nullptr};
  *next_ = node;
  next_ = &node->next;
}

void Arguments::add_item(const loader_item_t& item, int status) {
  const auto* data = reinterpret_cast<const char*>(item.data.data);
  const std::string_view bytes = item.data.size == 0 ? "" : std::string_view(data, item.data.size);
  add_node(view(item.key), type_of(item.type), status, bytes,
           pairs(item.attributes, item.attribute_count));
}

}  // namespace loader::host::aiges
