// Making, sealing and mapping of arenas, and the sender's side of one.
#include "channel/arena.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <system_error>

namespace loader::channel {

namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

UniqueFd create_memory_file(const char* name, uint64_t size) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) fail("memfd_create");
  if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0) fail("ftruncate of a memory file");
  return fd;
}

// One call: nothing can be added after F_SEAL_SEAL.
void seal(int fd, bool is_read_only) {
  int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (is_read_only) seals |= F_SEAL_FUTURE_WRITE;
  if (fcntl(fd, F_ADD_SEALS, seals) != 0) fail("sealing of a memory file");
}

size_t units_for(uint64_t size) {
  return static_cast<size_t>((size + kArenaUnitBytes - 1) / kArenaUnitBytes);
}

}  // namespace

std::shared_ptr<Mapping> Mapping::map(int fd, size_t size, bool is_writable) {
  const int protection = is_writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* memory = mmap(nullptr, size, protection, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) fail("mmap of a memory file");
  // A forked child must not scribble over its parent's results; what it may only read, it keeps.
  if (is_writable) madvise(memory, size, MADV_DONTFORK);
  return std::shared_ptr<Mapping>(new Mapping(static_cast<uint8_t*>(memory), size));
}

Mapping::~Mapping() {
  munmap(data_, size_);
}

ArenaFile create_arena(ArenaWriter writer, size_t size) {
  const bool is_ours = writer == ArenaWriter::kLoader;
  ArenaFile file;
  file.fd = create_memory_file(is_ours ? "loader-to-host" : "host-to-loader", size);
  file.mapping = Mapping::map(file.fd.get(), size, is_ours);
  seal(file.fd.get(), is_ours);
  return file;
}

bool is_safe_to_map(int fd, uint64_t size) {
  struct stat status {};
  struct statfs filesystem {};
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return false;
  // A file of huge pages raises SIGBUS where the system has none left: plain memory only.
  if (fstatfs(fd, &filesystem) != 0 || filesystem.f_type != TMPFS_MAGIC) return false;
  return fstat(fd, &status) == 0 && status.st_size >= 0 &&
         static_cast<uint64_t>(status.st_size) >= size;
}

// ---- one payload

OutPayload::OutPayload(OutPayload&& other) noexcept
    : arena_(std::move(other.arena_)),
      mapping_(std::move(other.mapping_)),
      memfd_(std::move(other.memfd_)),
      ref_(std::exchange(other.ref_, {})),
      bytes_(std::exchange(other.bytes_, {})) {}

OutPayload& OutPayload::operator=(OutPayload&& other) noexcept {
  if (this == &other) return *this;
  reset();
  arena_ = std::move(other.arena_);
  mapping_ = std::move(other.mapping_);
  memfd_ = std::move(other.memfd_);
  ref_ = std::exchange(other.ref_, {});
  bytes_ = std::exchange(other.bytes_, {});
  return *this;
}

void OutPayload::reset() {
  if (arena_ != nullptr) arena_->drop_unsent(ref_.block);
  arena_.reset();
  mapping_.reset();
  memfd_.reset();
  ref_ = {};
  bytes_ = {};
}

void OutPayload::truncate(uint64_t size) {
  if (size >= ref_.size) return;
  ref_.size = size;
  bytes_ = bytes_.first(static_cast<size_t>(size));
}

UniqueFd OutPayload::mark_sent() {
  if (arena_ != nullptr) arena_->mark_sent(ref_.block);
  arena_.reset();
  UniqueFd memfd = std::move(memfd_);
  reset();
  return memfd;
}

// ---- the sender's side

OutArena::OutArena(std::shared_ptr<Mapping> mapping)
    : size_bytes_(mapping->bytes().size()),
      mapping_(std::move(mapping)),
      books_(size_bytes_ / kArenaUnitBytes) {}

std::shared_ptr<OutArena> OutArena::create(std::shared_ptr<Mapping> mapping) {
  return std::shared_ptr<OutArena>(new OutArena(std::move(mapping)));
}

OutPayload OutArena::allocate(uint64_t size) {
  if (size == 0) return {};
  if (size <= size_bytes_ / 4) {
    OutPayload payload = allocate_block(size);
    if (payload) return payload;
  }
  return allocate_memfd(size);
}

OutPayload OutArena::allocate_block(uint64_t size) {
  const std::lock_guard lock(mutex_);
  const std::optional<uint32_t> block = books_.take(units_for(size));
  OutPayload payload;
  if (!block) return payload;
  const uint64_t offset = BlockBooks::first_unit(*block) * kArenaUnitBytes;
  payload.arena_ = shared_from_this();
  payload.ref_ = {kInArena, *block, offset, size};
  payload.bytes_ = mapping_->bytes().subspan(offset, size);
  return payload;
}

OutPayload OutArena::allocate_memfd(uint64_t size) {
  OutPayload payload;
  try {
    payload.memfd_ = create_memory_file("loader-payload", size);
    payload.mapping_ = Mapping::map(payload.memfd_.get(), size, true);
    seal(payload.memfd_.get(), true);
  } catch (const std::system_error&) {
    return {};  // no memory or no descriptors: the caller's to say
  }
  payload.ref_ = {kInMemfd, 0, 0, size};
  payload.bytes_ = payload.mapping_->bytes();
  return payload;
}

bool OutArena::release(uint32_t block) {
  const std::lock_guard lock(mutex_);
  return books_.give_back(block, true);
}

bool OutArena::mark_sent(uint32_t block) {
  const std::lock_guard lock(mutex_);
  return books_.mark_sent(block);
}

void OutArena::drop_unsent(uint32_t block) {
  const std::lock_guard lock(mutex_);
  books_.give_back(block, false);
}

size_t OutArena::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return books_.used_units() * kArenaUnitBytes;
}

size_t OutArena::block_count() const {
  const std::lock_guard lock(mutex_);
  return books_.block_count();
}

size_t OutArena::idle_bytes() const {
  const std::lock_guard lock(mutex_);
  return books_.idle_units() * kArenaUnitBytes;
}

size_t OutArena::punch_idle(size_t keep_bytes) {
  const std::lock_guard lock(mutex_);
  size_t punched = 0;
  books_.clear_idle(units_for(keep_bytes), [&](size_t first, size_t count) {
    uint8_t* at = mapping_->bytes().data() + first * kArenaUnitBytes;
    // MADV_REMOVE punches the file behind the mapping: no descriptor needed.
    if (madvise(at, count * kArenaUnitBytes, MADV_REMOVE) != 0) return false;
    punched += count * kArenaUnitBytes;
    return true;
  });
  return punched;
}

std::optional<UniqueFd> OutArena::replace_if_idle(size_t keep_bytes) {
  const std::lock_guard lock(mutex_);
  if (books_.block_count() != 0 || books_.idle_units() * kArenaUnitBytes <= keep_bytes) return {};
  try {
    ArenaFile fresh = create_arena(ArenaWriter::kLoader, size_bytes_);
    mapping_ = std::move(fresh.mapping);
    books_ = BlockBooks(size_bytes_ / kArenaUnitBytes);
    return std::move(fresh.fd);
  } catch (const std::system_error&) {
    return {};  // it stays as it is; the next idle moment tries again
  }
}

}  // namespace loader::channel
