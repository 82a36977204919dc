// Slots of one engine over all its instances and all shards: who may run now, who waits.
// Thread-safe by one mutex; calls nobody while it holds it. Knows no sessions and no hosts.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "loader/errors.h"
#include "session/ports.h"

namespace loader::session {

// The right to one open session or one running exec on an instance. Copies are harmless: a release
// of a generation that is over frees nobody else's slot.
struct Slot {
  InstanceId instance = 0;
  uint32_t index = 0;
  uint32_t generation = 0;  // 0: no slot

  explicit operator bool() const { return generation != 0; }
  bool operator==(const Slot&) const = default;
};

// A place in the queue. Sorts before others of lower priority, then by age.
struct Ticket {
  int32_t priority = 0;
  uint64_t number = 0;  // 0: no ticket

  explicit operator bool() const { return number != 0; }
  bool operator==(const Ticket&) const = default;
};

class SlotPool;

// What all who wait for slots of an engine may keep; one alone may keep more.
inline constexpr uint64_t kMaxWaitingBytes = 64ull << 20;

struct Grant {
  std::shared_ptr<SlotPool> pool;
  SessionId session = 0;
  Slot slot;
};

// Takes grants to the shard that waits: shard_of(grant.session). Called from any thread, no lock
// held; it posts, and the shard then gets Shard::on_slot_granted(grant).
class GrantSink {
 public:
  virtual ~GrantSink() = default;
  virtual void post_grant(const Grant& grant) = 0;
};

// How an acquire went: a slot at once, a ticket, or an error.
struct Admission {
  Slot slot;
  Ticket ticket;
  ErrorCode error = ErrorCode::kNone;
};

struct SlotPoolState {
  uint32_t slots = 0;      // of accepting instances
  uint32_t used = 0;       // of all instances
  uint32_t instances = 0;  // accepting
  uint32_t waiting = 0;
};

// Made with std::make_shared: grants on their way keep it alive.
class SlotPool : public std::enable_shared_from_this<SlotPool> {
 public:
  SlotPool(GrantSink& sink, uint32_t slots_per_instance, uint32_t queue_limit);
  ~SlotPool() = default;
  SlotPool(const SlotPool&) = delete;
  SlotPool& operator=(const SlotPool&) = delete;

  // `may_wait` false: a slot now or NO_FREE_SLOT. `bytes`: what the caller keeps while it waits.
  // Fast path: one lock, no allocation.
  Admission acquire(SessionId session, int32_t priority, bool may_wait, uint64_t bytes = 0);
  // False: the ticket was granted; the grant is on its way to the shard.
  bool cancel(const Ticket& ticket);
  // False: stale (released before, or its instance is gone); nothing changed.
  bool release(const Slot& slot);

  void add_instance(InstanceId instance);
  // A hung or draining instance takes no new work; its slots are released as before.
  void set_accepting(InstanceId instance, bool is_accepting);
  // Its host is gone. Slots held are still released one by one; the last one forgets the instance.
  void retire_instance(InstanceId instance);
  // Live: growing grants at once, shrinking waits for releases.
  void set_slots_per_instance(uint32_t slots);
  void set_queue_limit(uint32_t limit);
  // False: no instance is to be expected (given up); acquire refuses at once.
  void set_available(bool is_available);

  bool is_accepting(InstanceId instance) const;
  // Slots of the instance that are held; 0 when it is not known.
  uint32_t used(InstanceId instance) const;
  // Sessions of the instance whose call hangs: when all of used() hang, nobody profits from a
  // grace.
  void count_hung(InstanceId instance);
  void uncount_hung(InstanceId instance);
  uint32_t hung(InstanceId instance) const;
  SlotPoolState state() const;

 private:
  struct Instance {
    InstanceId id = 0;
    bool is_accepting = true;
    bool is_retired = false;
    uint32_t used = 0;
    uint32_t hung = 0;
    std::vector<uint32_t> generations;  // odd: held
    std::vector<uint32_t> free;         // indexes that exist and are not held
  };
  struct Waiter {
    SessionId session;
    uint64_t bytes;
  };
  struct TicketOrder {
    bool operator()(const Ticket& a, const Ticket& b) const {
      return a.priority != b.priority ? a.priority > b.priority : a.number < b.number;
    }
  };

  Instance* find(InstanceId id);
  const Instance* find(InstanceId id) const;
  Instance* most_free();
  Slot take(Instance& instance);
  std::optional<Grant> next_grant();         // with the mutex held
  std::optional<Grant> next_grant_locked();  // takes the mutex
  void grant_waiting();

  GrantSink& sink_;
  mutable std::mutex mutex_;
  uint32_t slots_per_instance_;
  uint32_t queue_limit_;
  bool is_available_ = true;
  uint64_t last_ticket_ = 0;
  std::vector<Instance> instances_;
  std::map<Ticket, Waiter, TicketOrder> waiting_;
  uint64_t waiting_bytes_ = 0;
};

}  // namespace loader::session
