// Shared memory between loader and host: creating and sealing it, the sender's allocator, and the
// receiver's checked views. Refuses to parse what lies there: only opaque payload bytes do, and a
// peer may change them at any time.
//
// The allocator's books are private memory; nothing in an arena is ever trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "channel/block_books.h"
#include "channel/record.h"
#include "channel/unique_fd.h"

namespace loader::channel {

constexpr size_t kDefaultArenaBytes = 32u * 1024 * 1024;

// A mapping that unmaps itself. Shared by everybody who reads or writes in it.
class Mapping {
 public:
  // Throws std::system_error. Writable mappings do not appear in forked children.
  static std::shared_ptr<Mapping> map(int fd, size_t size, bool is_writable);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  std::span<uint8_t> bytes() const { return {data_, size_}; }

 private:
  Mapping(uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t* data_;
  size_t size_;
};

// Who writes into an arena. The loader creates both.
enum class ArenaWriter {
  kLoader,  // sealed against every later writer: the host can only read
  kHost     // sealed against changes of size only
};

struct ArenaFile {
  UniqueFd fd;
  std::shared_ptr<Mapping> mapping;  // the creator's: writable for kLoader, read-only for kHost
};

// Creates, sizes, maps and seals. Throws std::system_error.
ArenaFile create_arena(ArenaWriter writer, size_t size);

// True when the file cannot shrink under a reader and is at least `size` bytes.
bool is_safe_to_map(int fd, uint64_t size);

class OutArena;

// Memory for one payload to be sent: a block of the arena or a memory file of its own. Destroying
// it unsent gives the memory back; send it with ref() and mark_sent().
class OutPayload {
 public:
  OutPayload() = default;
  ~OutPayload() { reset(); }
  OutPayload(OutPayload&& other) noexcept;
  OutPayload& operator=(OutPayload&& other) noexcept;

  std::span<uint8_t> bytes() const { return bytes_; }
  const PayloadRef& ref() const { return ref_; }
  int memfd() const { return memfd_.get(); }  // -1: in the arena
  // Fewer bytes than were asked for are to be sent.
  void truncate(uint64_t size);
  // Now the receiver's: its release frees the block. Returns the sealed memory file to pass along,
  // empty for a block of the arena.
  UniqueFd mark_sent();
  explicit operator bool() const { return ref_.kind != 0; }

 private:
  friend class OutArena;
  void reset();
  std::shared_ptr<OutArena> arena_;
  std::shared_ptr<Mapping> mapping_;
  UniqueFd memfd_;
  PayloadRef ref_;
  std::span<uint8_t> bytes_;
};

// The sender's side of one arena: a buddy allocator with LIFO free lists, so that the block last
// given back, still hot in the caches and backed by pages, is the next one used. Thread-safe.
class OutArena : public std::enable_shared_from_this<OutArena> {
 public:
  // `mapping` writable, its size a power of two times kArenaUnitBytes; else std::invalid_argument.
  static std::shared_ptr<OutArena> create(std::shared_ptr<Mapping> mapping);

  // Above a quarter of the arena, or when the arena is full: a memory file. Empty: no memory.
  OutPayload allocate(uint64_t size);
  // The receiver gave a block back. False: no such block is out, the peer is lying.
  bool release(uint32_t block);

  size_t used_bytes() const;
  size_t block_count() const;
  // Bytes of free blocks whose pages are still there.
  size_t idle_bytes() const;

  // Gives the pages of free blocks back, except the first `keep_bytes` touched. Host's arena only;
  // returns the bytes punched.
  size_t punch_idle(size_t keep_bytes);
  // Loader's arena: when no block is out and idle_bytes() is above `keep_bytes`, moves to a fresh
  // memory file. Send the descriptor in a kArena record before the next payload.
  std::optional<UniqueFd> replace_if_idle(size_t keep_bytes);

 private:
  friend class OutPayload;
  explicit OutArena(std::shared_ptr<Mapping> mapping);
  OutPayload allocate_block(uint64_t size);
  OutPayload allocate_memfd(uint64_t size);
  bool mark_sent(uint32_t block);
  void drop_unsent(uint32_t block);

  const size_t size_bytes_;
  mutable std::mutex mutex_;
  std::shared_ptr<Mapping> mapping_;
  BlockBooks books_;
};

// One received payload. Copies share it; the last one to go gives the block back to its sender.
// The bytes stay readable as long as one copy lives, also after the peer's death. They are the
// peer's memory: never parse them in place, their content may change while you look.
class Payload {
 public:
  Payload() = default;
  std::span<const uint8_t> bytes() const { return bytes_; }
  bool is_copy() const { return is_copy_; }

 private:
  friend class InArena;
  std::shared_ptr<const void> owner_;
  std::span<const uint8_t> bytes_;
  bool is_copy_ = false;
};

// The receiver's side of the peer's arena. open() belongs to the reading thread; payloads may be
// let go on any thread.
class InArena {
 public:
  explicit InArena(std::shared_ptr<Mapping> mapping);
  ~InArena();

  // Opens every payload of a record in order, appending to `out`. False: a reference lies outside
  // the arena, together they are larger than it, a file may shrink or is missing: the peer is
  // broken. `must_copy`: onto the heap, because the session pins too much; an arena three-quarters
  // pinned does it by itself.
  bool open(RecordView& record, std::vector<Payload>& out, bool must_copy = false);
  // Nobody wants the payloads of this record: its blocks go back unread.
  void refuse(const RecordView& record);
  // A kArena record: from here on references mean this file. False: not a sealed file of that size.
  bool replace(RecordView& record);

  // Called (on the thread that let go) when the first block waits to be released. It may
  // call take_released, and it may still run while this object ends: it must guard what it
  // captures.
  void on_released(std::function<void()> wake);
  // Blocks to put into a kRelease record; empty: nothing to send.
  void take_released(std::vector<uint32_t>& blocks);
  size_t pinned_bytes() const;

 private:
  struct Returns;
  struct Hold;
  bool open_block(const PayloadRef& ref, bool must_copy, Payload& out);
  static bool open_memfd(const PayloadRef& ref, int fd, Payload& out);

  std::shared_ptr<Mapping> mapping_;
  std::shared_ptr<Returns> returns_;
};

}  // namespace loader::channel
