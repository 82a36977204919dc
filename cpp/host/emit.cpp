// Results, from any thread: order, credit, and when an emit waits.
#include <utility>

#include "host/result.h"
#include "host/runtime_impl.h"

namespace loader::host {

namespace {

// Waits for the other emits of the session without holding up whoever depends on this thread.
bool take_turn(std::unique_lock<std::mutex>& turn, Dispatcher& dispatcher, uint32_t flags) {
  if (turn.try_lock()) return true;
  if ((flags & LOADER_EMIT_NOWAIT) != 0) return false;
  dispatcher.begin_wait();
  turn.lock();
  dispatcher.end_wait();
  return true;
}

}  // namespace

loader_status_t HostRuntime::Impl::emit(loader_handle_t handle, loader_frame_t* frame,
                                        uint32_t flags) {
  if (frame == nullptr) return LOADER_ERROR_ARGUMENT;
  const SessionPointer session = sessions_.find(handle);
  if (!session) return LOADER_ERROR_CLOSED;
  thread_local ResultWriter writer;
  {
    std::unique_lock turn(session->emit_mutex, std::defer_lock);
    if (!take_turn(turn, dispatcher_, flags)) return LOADER_AGAIN;
    const loader_status_t planned = writer.plan(*frame, session->result_seq + 1);
    if (planned != LOADER_OK) return planned;
    const loader_status_t granted =
        wait_for_credit(*session, engine_handle::call(handle), writer.charge(), flags);
    if (granted != LOADER_OK) return granted;
    if (writer.place(session->link->arena_out()) != LOADER_OK) {
      writer.clear();
      std::lock_guard lock(session->mutex);
      session->credit.give_back({1, writer.charge()});
      return LOADER_ERROR_MEMORY;
    }
    session->link->send(
        [&](channel::ChannelSocket& socket) { writer.append(socket, session->wire); });
    ++session->result_seq;
    if (writer.uses_shared_memory()) session->link->count_payload();
  }
  session->alive_ns.store(monotonic_ns(), std::memory_order_relaxed);
  writer.clear();
  release_items(*frame);
  return LOADER_OK;
}

loader_status_t HostRuntime::Impl::wait_for_credit(HostSession& session, uint16_t call_number,
                                                   uint64_t charge, uint32_t flags) {
  const auto is_over = [&] {
    return session.is_closed || session.is_cancelled.load(std::memory_order_relaxed) ||
           (call_number != 0 && call_number != session.call_number);
  };
  std::unique_lock lock(session.mutex);
  while (true) {
    if (is_over()) return LOADER_ERROR_CLOSED;
    if (session.credit.take(charge)) {
      session.last_bytes = charge;
      return LOADER_OK;
    }
    session.wanted_bytes = charge;
    if ((flags & LOADER_EMIT_NOWAIT) != 0) return LOADER_AGAIN;
    session.is_waiting = true;
    lock.unlock();
    flush();
    dispatcher_.begin_wait();
    lock.lock();
    session.changed.wait(lock, [&] { return is_over() || session.credit.fits(charge); });
    session.is_waiting = false;
    session.alive_ns.store(monotonic_ns(), std::memory_order_relaxed);
    lock.unlock();
    dispatcher_.end_wait();
    lock.lock();
  }
}

loader_status_t HostRuntime::Impl::alloc_result(loader_handle_t handle, uint64_t size,
                                                loader_buffer_t* out, uint8_t** writable) {
  const SessionPointer session = sessions_.find(handle);
  if (!session) return LOADER_ERROR_CLOSED;
  return allocate_result(session->link->arena_out(), size, out, writable);
}

void HostRuntime::Impl::on_credit(loader_handle_t handle, std::function<void()> callback) {
  const SessionPointer session = sessions_.find(handle);
  if (session) {
    std::lock_guard lock(session->mutex);
    const bool is_over = session->is_closed || session->is_cancelled.load();
    if (!is_over && !session->credit.fits(session->wanted_bytes)) {
      session->waiters.push_back(std::move(callback));
      return;
    }
  }
  callback();
}

void HostRuntime::Impl::fire_waiters(HostSession& session) {
  for (auto& waiter : session.waiters) submit(JobKind::kControl, std::move(waiter));
  session.waiters.clear();
}

}  // namespace loader::host
