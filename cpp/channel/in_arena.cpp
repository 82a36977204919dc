// The receiver's side of an arena: checked views that outlive the peer.
#include <atomic>
#include <cstring>
#include <system_error>

#include "channel/arena.h"
#include "channel/bodies.h"

namespace loader::channel {

namespace {

// The reader of records has seen to it that sums of sizes do not wrap.
uint64_t arena_bytes_of(const RecordView& record) {
  uint64_t total = 0;
  for (const PayloadRef& ref : record.payloads) total += ref.kind == kInArena ? ref.size : 0;
  return total;
}

}  // namespace

// Blocks on their way back. Outlives the InArena in the hands of payloads.
struct InArena::Returns {
  // Signals outside the lock: whoever is woken may take the blocks at once, on this thread.
  void give(uint32_t block) {
    std::shared_ptr<const std::function<void()>> to_call;
    {
      const std::lock_guard lock(mutex);
      blocks.push_back(block);
      if (blocks.size() == 1) to_call = wake;
    }
    if (to_call && *to_call) (*to_call)();
  }

  std::mutex mutex;
  std::vector<uint32_t> blocks;
  std::shared_ptr<const std::function<void()>> wake;
  std::atomic<size_t> pinned{0};  // a hint for copying: relaxed is enough
};

struct InArena::Hold {
  Hold(std::shared_ptr<Returns> to, std::shared_ptr<Mapping> in, const PayloadRef& ref)
      : returns(std::move(to)), mapping(std::move(in)), block(ref.block), size(ref.size) {
    returns->pinned.fetch_add(size, std::memory_order_relaxed);
  }
  ~Hold() {
    returns->pinned.fetch_sub(size, std::memory_order_relaxed);
    returns->give(block);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

  std::shared_ptr<Returns> returns;
  std::shared_ptr<Mapping> mapping;
  uint32_t block;
  size_t size;
};

InArena::InArena(std::shared_ptr<Mapping> mapping)
    : mapping_(std::move(mapping)), returns_(std::make_shared<Returns>()) {}

InArena::~InArena() {
  const std::lock_guard lock(returns_->mutex);
  returns_->wake = nullptr;
}

void InArena::on_released(std::function<void()> wake) {
  const std::lock_guard lock(returns_->mutex);
  returns_->wake = std::make_shared<const std::function<void()>>(std::move(wake));
}

void InArena::take_released(std::vector<uint32_t>& blocks) {
  blocks.clear();
  const std::lock_guard lock(returns_->mutex);
  blocks.swap(returns_->blocks);
}

size_t InArena::pinned_bytes() const {
  return returns_->pinned.load(std::memory_order_relaxed);
}

void InArena::refuse(const RecordView& record) {
  for (const PayloadRef& ref : record.payloads) {
    if (ref.kind == kInArena) returns_->give(ref.block);
  }
}

bool InArena::open(RecordView& record, std::vector<Payload>& out, bool must_copy) {
  if (arena_bytes_of(record) > mapping_->bytes().size()) return false;
  size_t memfd = 0;
  for (const PayloadRef& ref : record.payloads) {
    Payload& payload = out.emplace_back();
    if (ref.kind == kInMemfd) {
      if (memfd == record.memfds.size()) return false;
      const UniqueFd fd = std::move(record.memfds[memfd++]);
      if (!open_memfd(ref, fd.get(), payload)) return false;
    } else if (!open_block(ref, must_copy, payload)) {
      return false;
    }
  }
  return true;
}

bool InArena::open_block(const PayloadRef& ref, bool must_copy, Payload& out) {
  const std::span<const uint8_t> arena = mapping_->bytes();
  if (ref.size > arena.size() || ref.offset > arena.size() - ref.size) return false;
  const auto bytes = arena.subspan(ref.offset, ref.size);
  if (must_copy || pinned_bytes() + ref.size > arena.size() / 4 * 3) {
    auto copy = std::make_shared_for_overwrite<uint8_t[]>(ref.size);
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    out.bytes_ = {copy.get(), bytes.size()};
    out.owner_ = std::move(copy);
    out.is_copy_ = true;
    returns_->give(ref.block);
    return true;
  }
  out.owner_ = std::make_shared<Hold>(returns_, mapping_, ref);
  out.bytes_ = bytes;
  return true;
}

bool InArena::open_memfd(const PayloadRef& ref, int fd, Payload& out) {
  if (!is_safe_to_map(fd, ref.size)) return false;
  try {
    std::shared_ptr<Mapping> mapping = Mapping::map(fd, ref.size, false);
    out.bytes_ = mapping->bytes();
    out.owner_ = std::move(mapping);
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

bool InArena::replace(RecordView& record) {
  ArenaBody body;
  if (!decode(record.body, body) || record.memfds.size() != 1 || body.size == 0) return false;
  const UniqueFd fd = std::move(record.memfds[0]);
  if (!is_safe_to_map(fd.get(), body.size)) return false;
  try {
    mapping_ = Mapping::map(fd.get(), body.size, false);
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

}  // namespace loader::channel
