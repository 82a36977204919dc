// A list of key/value pairs, in order, duplicates kept apart. Values of `-bin` keys are the raw
// bytes: base64 happens at the wire. One block of memory for all, so that a pooled call can reuse
// it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loader::grpc {

class Metadata {
 public:
  struct Entry {
    std::string_view key;
    std::string_view value;
  };

  Metadata() = default;
  Metadata(std::initializer_list<Entry> entries) {
    for (const Entry& e : entries) add(e.key, e.value);
  }

  // Appends. Checks nothing: a sender that adds what is_sendable() refuses gets
  // std::invalid_argument from the send call.
  void add(std::string_view key, std::string_view value);
  void clear() { bytes_.clear(), slots_.clear(); }

  // The first value of `key` (lower case), valid until the next change of this object.
  std::optional<std::string_view> find(std::string_view key) const;
  size_t size() const { return slots_.size(); }
  bool is_empty() const { return slots_.empty(); }
  Entry operator[](size_t i) const;

  // May an application send this pair? Keys of [0-9a-z_.-] that gRPC does not reserve; values of
  // 0x20 to 0x7e unless the key ends in "-bin".
  static bool is_sendable(std::string_view key, std::string_view value);

  class Iterator {
   public:
    Iterator(const Metadata* m, size_t i) : metadata_(m), i_(i) {}
    Entry operator*() const { return (*metadata_)[i_]; }
    Iterator& operator++() { return i_++, *this; }
    bool operator!=(const Iterator& o) const { return i_ != o.i_; }

   private:
    const Metadata* metadata_;
    size_t i_;
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, size()}; }

 private:
  struct Slot {
    uint32_t at, key_bytes, value_bytes;
  };
  std::string bytes_;
  std::vector<Slot> slots_;
};

}  // namespace loader::grpc
