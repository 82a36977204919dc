// A heap with one entry for each session that has any clock running. Entries may be early, never
// late: who is woken looks at its clocks again. So the hot path, which only moves clocks into the
// future, leaves the heap alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace loader::session {

// `Item` has a member `size_t heap_index`, kept by the heap.
template <typename Item>
class Deadlines {
 public:
  static constexpr size_t kNotIn = SIZE_MAX;

  bool empty() const { return heap_.empty(); }
  int64_t first_ns() const { return heap_.front().deadline_ns; }
  Item* first() const { return heap_.front().item; }

  // Makes sure that the item is woken at that time or before.
  void at_latest(Item& item, int64_t deadline_ns) {
    if (item.heap_index == kNotIn) {
      heap_.push_back({deadline_ns, &item});
      item.heap_index = heap_.size() - 1;
      sift_up(item.heap_index);
    } else if (deadline_ns < heap_[item.heap_index].deadline_ns) {
      heap_[item.heap_index].deadline_ns = deadline_ns;
      sift_up(item.heap_index);
    }
  }

  void remove(Item& item) {
    const size_t i = item.heap_index;
    if (i == kNotIn) return;
    item.heap_index = kNotIn;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (i == heap_.size()) return;
    place(i, last);
    sift_down(i);
    sift_up(last.item->heap_index);
  }

 private:
  struct Entry {
    int64_t deadline_ns;
    Item* item;
  };

  void place(size_t i, const Entry& entry) {
    heap_[i] = entry;
    entry.item->heap_index = i;
  }
  void sift_up(size_t i) {
    const Entry entry = heap_[i];
    while (i > 0 && entry.deadline_ns < heap_[(i - 1) / 2].deadline_ns) {
      place(i, heap_[(i - 1) / 2]);
      i = (i - 1) / 2;
    }
    place(i, entry);
  }
  void sift_down(size_t i) {
    const Entry entry = heap_[i];
    for (size_t child = 2 * i + 1; child < heap_.size(); child = 2 * i + 1) {
      if (child + 1 < heap_.size() && heap_[child + 1].deadline_ns < heap_[child].deadline_ns) {
        ++child;
      }
      if (heap_[child].deadline_ns >= entry.deadline_ns) break;
      place(i, heap_[child]);
      i = child;
    }
    place(i, entry);
  }

  std::vector<Entry> heap_;
};

}  // namespace loader::session
