// The lists that one call hands to an AIGES library. Private copies, which the library may change
// and must not keep: they go with this object, when the call has returned.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <memory_resource>
#include <string_view>
#include <vector>

#include "host/aiges/abi.h"
#include "host/aiges/values.h"
#include "loader/wrapper.h"

namespace loader::host::aiges {

class Arguments {
 public:
  Arguments() : memory_(first_.data(), first_.size()) {}
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;

  // NULL where there are none: a node with a NULL key, AIGES's own way, crashes wrappers.
  ParamList* pairs(const TextPairs& pairs);
  // Appends a node to nodes(). Empty data is a pointer to nothing, never NULL; all data has a NUL
  // behind it.
  void add_node(std::string_view key, int type, int status, std::string_view data,
                ParamList* description);
  // An item of ours: its type, data and attributes. 4 for what is not text, audio, image or video.
  void add_item(const loader_item_t& item, int status);
  DataList* nodes() const { return head_; }

 private:
  template <typename Node>
  Node* make();
  char* text(std::string_view text);
  char* bytes(std::string_view data);
  ParamList* pairs(const loader_pair_t* pairs, uint32_t count);

  std::array<std::byte, 2048> first_;
  std::pmr::monotonic_buffer_resource memory_;
  std::vector<std::unique_ptr<char[]>> large_;
  DataList* head_ = nullptr;
  DataList** next_ = &head_;
};

}  // namespace loader::host::aiges
