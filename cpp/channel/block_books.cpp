// Buddy allocation with LIFO free lists.
#include "channel/block_books.h"

#include <bit>
#include <stdexcept>
#include <string>

namespace loader::channel {

BlockBooks::BlockBooks(size_t unit_count) : units_(unit_count) {
  if (!std::has_single_bit(unit_count) || unit_count > kUnitMask + size_t{1}) {
    throw std::invalid_argument("an arena has a power of two of units, at most 2^20; got " +
                                std::to_string(unit_count));
  }
  heads_.resize(static_cast<size_t>(std::countr_zero(unit_count)) + 1);
  push(0, static_cast<uint32_t>(heads_.size() - 1));
}

void BlockBooks::push(size_t unit, uint32_t order) {
  Unit& head = units_[unit];
  head.order = static_cast<uint8_t>(order);
  head.state = State::kFree;
  head.previous = 0;
  head.next = heads_[order];
  if (head.next != 0) units_[head.next - 1].previous = static_cast<uint32_t>(unit + 1);
  heads_[order] = static_cast<uint32_t>(unit + 1);
}

void BlockBooks::remove(size_t unit) {
  Unit& head = units_[unit];
  if (head.previous != 0) {
    units_[head.previous - 1].next = head.next;
  } else {
    heads_[head.order] = head.next;
  }
  if (head.next != 0) units_[head.next - 1].previous = head.previous;
  head.state = State::kInside;
}

std::optional<uint32_t> BlockBooks::take(size_t units) {
  if (units == 0 || units > units_.size()) return std::nullopt;
  const auto order = static_cast<uint32_t>(std::countr_zero(std::bit_ceil(units)));
  uint32_t found = order;
  while (found < heads_.size() && heads_[found] == 0) ++found;
  if (found == heads_.size()) return std::nullopt;
  const size_t unit = heads_[found] - 1;
  remove(unit);
  // The lower half is taken, so that small loads stay at the bottom.
  while (found > order) {
    --found;
    push(unit + (size_t{1} << found), found);
  }
  Unit& head = units_[unit];
  head.order = static_cast<uint8_t>(order);
  head.state = State::kUsed;
  head.generation = static_cast<uint16_t>((head.generation + 1) & kGenerationMask);
  for (size_t i = 0; i < units; ++i) units_[unit + i].is_touched = true;
  used_units_ += size_t{1} << order;
  ++block_count_;
  return uint32_t{head.generation} << kUnitBits | static_cast<uint32_t>(unit);
}

BlockBooks::Unit* BlockBooks::find(uint32_t block) {
  const size_t unit = first_unit(block);
  if (unit >= units_.size()) return nullptr;
  Unit& head = units_[unit];
  const bool is_out = head.state == State::kUsed || head.state == State::kSent;
  return is_out && head.generation == block >> kUnitBits ? &head : nullptr;
}

bool BlockBooks::mark_sent(uint32_t block) {
  Unit* head = find(block);
  if (head == nullptr || head->state != State::kUsed) return false;
  head->state = State::kSent;
  return true;
}

bool BlockBooks::give_back(uint32_t block, bool is_sent) {
  Unit* head = find(block);
  if (head == nullptr || head->state != (is_sent ? State::kSent : State::kUsed)) return false;
  size_t unit = first_unit(block);
  uint32_t order = head->order;
  head->state = State::kInside;
  used_units_ -= size_t{1} << order;
  --block_count_;
  for (; order + 1 < heads_.size(); ++order) {
    const size_t buddy = unit ^ (size_t{1} << order);
    if (units_[buddy].state != State::kFree || units_[buddy].order != order) break;
    remove(buddy);
    unit = unit < buddy ? unit : buddy;
  }
  push(unit, order);
  return true;
}

size_t BlockBooks::idle_units() const {
  size_t idle = 0;
  for (size_t unit = 0; unit < units_.size(); unit += size_t{1} << units_[unit].order) {
    if (units_[unit].state != State::kFree) continue;
    for (size_t i = 0; i < size_t{1} << units_[unit].order; ++i)
      idle += units_[unit + i].is_touched;
  }
  return idle;
}

void BlockBooks::clear_idle(size_t keep,
                            const std::function<bool(size_t first, size_t count)>& clear) {
  for (size_t unit = 0; unit < units_.size(); unit += size_t{1} << units_[unit].order) {
    if (units_[unit].state != State::kFree) continue;
    const size_t end = unit + (size_t{1} << units_[unit].order);
    size_t at = unit;
    while (at < end) {
      if (!units_[at].is_touched || keep != 0) {
        keep -= units_[at++].is_touched ? 1 : 0;
        continue;
      }
      const size_t first = at;
      while (at < end && units_[at].is_touched) ++at;
      if (!clear(first, at - first)) return;
      for (size_t i = first; i < at; ++i) units_[i].is_touched = false;
    }
  }
}

}  // namespace loader::channel
