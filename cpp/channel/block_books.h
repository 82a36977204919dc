// The books of a buddy allocator over numbered units: which blocks are out, which are free, which
// units were ever touched. Refuses to know memory: it counts units and nothing else. Not locked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace loader::channel {

constexpr size_t kArenaUnitBytes = 16 * 1024;  // smallest block

class BlockBooks {
 public:
  // `unit_count` a power of two, at most 2^20.
  explicit BlockBooks(size_t unit_count);

  // A block of at least `units` units: its number, never the same as that of the block which lay
  // there before. The lowest free address that fits is reused first or second, so it stays hot.
  std::optional<uint32_t> take(size_t units);
  static size_t first_unit(uint32_t block) { return block & kUnitMask; }

  // Only blocks that are marked as sent may be released by the peer.
  bool mark_sent(uint32_t block);
  // False, and nothing happens: no such block is out, or it was not (`is_sent`) or was sent.
  bool give_back(uint32_t block, bool is_sent);

  size_t unit_count() const { return units_.size(); }
  size_t used_units() const { return used_units_; }
  size_t block_count() const { return block_count_; }
  size_t idle_units() const;  // free and touched
  // Passes runs of free touched units (first, count) beyond the first `keep`, which then count as
  // untouched where `clear` returns true.
  void clear_idle(size_t keep, const std::function<bool(size_t first, size_t count)>& clear);

 private:
  static constexpr uint32_t kUnitBits = 20;
  static constexpr uint32_t kUnitMask = (1u << kUnitBits) - 1;
  static constexpr uint32_t kGenerationMask = 0xfff;

  enum class State : uint8_t { kInside, kFree, kUsed, kSent };
  struct Unit {
    uint32_t next = 0;      // in its free list, unit + 1; 0: none
    uint32_t previous = 0;  // the same
    uint16_t generation = 0;
    uint8_t order = 0;
    State state = State::kInside;  // of the block that starts here
    bool is_touched = false;
  };

  Unit* find(uint32_t block);
  void push(size_t unit, uint32_t order);
  void remove(size_t unit);

  std::vector<Unit> units_;
  std::vector<uint32_t> heads_;  // by order, unit + 1
  size_t used_units_ = 0;
  size_t block_count_ = 0;
};

}  // namespace loader::channel
