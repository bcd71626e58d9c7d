#include "blockcore/engine/uring_engine.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>

#include "base/log.h"

namespace hull::blockcore {

namespace {

// Of operations on files, which end by themselves; more of them wait in our list. The completion
// ring has twice as many; the rest is for watches and for sockets, which may wait for ever and so
// must not keep anything else waiting. What does not fit there the kernel keeps.
constexpr unsigned kMaxInFlight = 448;
constexpr int kRefusedMs = 50;               // between two attempts at what the host refuses
constexpr size_t kMaxPlainBytes = 1U << 30;  // the length of an entry has 32 bits

// Low bits of user_data, which are zero in the pointers that are the rest of it.
constexpr uint64_t kTagMask = 3;
constexpr uint64_t kOperationTag = 0;
constexpr uint64_t kWatchTag = 1;
constexpr uint64_t kIgnoredTag = 2;

// Tells the processor that this is a loop that waits.
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void prepare(io_uring_sqe* entry, IoOperation& operation) {
  const std::span<const iovec> buffers = operation.buffers;
  const auto count = static_cast<unsigned>(buffers.size());
  switch (operation.kind) {
    // One buffer, the usual case, spares the kernel the copy of the list.
    case IoOperation::Kind::kReadv:
      if (count == 1 && buffers[0].iov_len <= kMaxPlainBytes)
        io_uring_prep_read(entry, operation.fd, buffers[0].iov_base,
                           static_cast<unsigned>(buffers[0].iov_len), operation.offset);
      else
        io_uring_prep_readv(entry, operation.fd, buffers.data(), count, operation.offset);
      break;
    case IoOperation::Kind::kWritev:
      if (count == 1 && buffers[0].iov_len <= kMaxPlainBytes)
        io_uring_prep_write(entry, operation.fd, buffers[0].iov_base,
                            static_cast<unsigned>(buffers[0].iov_len), operation.offset);
      else
        io_uring_prep_writev(entry, operation.fd, buffers.data(), count, operation.offset);
      break;
    case IoOperation::Kind::kDataSync:
      io_uring_prep_fsync(entry, operation.fd, IORING_FSYNC_DATASYNC);
      break;
    case IoOperation::Kind::kFallocate:
      io_uring_prep_fallocate(entry, operation.fd, operation.fallocate_mode,
                              static_cast<off_t>(operation.offset),
                              static_cast<off_t>(operation.length));
      break;
    case IoOperation::Kind::kReceive:
      io_uring_prep_recvmsg(entry, operation.fd, &operation.message,
                            static_cast<unsigned>(operation.message_flags));
      break;
    case IoOperation::Kind::kSend:
      io_uring_prep_sendmsg(entry, operation.fd, &operation.message,
                            static_cast<unsigned>(operation.message_flags));
      break;
    case IoOperation::Kind::kCopyRange: break;  // never comes here
  }
}

}  // namespace

Result<std::unique_ptr<IoEngine>> UringEngine::create() {
  EventFd wake = TRY(EventFd::create());
  auto engine = std::unique_ptr<UringEngine>(new UringEngine(std::move(wake)));
  if (auto created = engine->ring_.create(); !created)
    return std::unexpected(std::move(created).error());
  return std::unique_ptr<IoEngine>(std::move(engine));
}

UringEngine::UringEngine(EventFd wake) : IoEngine(std::move(wake)) {
  watches_.push_back(std::make_unique<Watch>(Watch{.fd = wake_fd(), .readable = {}}));
}

UringEngine::~UringEngine() { CHECK(idle()); }

// The next turn makes and enables a ring of this thread.
void UringEngine::enter() {
  if (!ring_.is_foreign()) return;
  CHECK(idle());
  ring_.destroy();
  for (const auto& watch : watches_) watch->armed = false;
  watches_changed_ = true;
}

Result<void> UringEngine::watch(int event_fd, std::function<void()> readable) {
  watches_.push_back(
      std::make_unique<Watch>(Watch{.fd = event_fd, .readable = std::move(readable)}));
  watches_changed_ = true;
  return {};
}

void UringEngine::unwatch(int event_fd) {
  const auto found = std::find_if(
      watches_.begin() + 1, watches_.end(),
      [event_fd](const auto& watch) { return watch->fd == event_fd && !watch->removed; });
  if (found == watches_.end()) return;
  (*found)->removed = true;
  watches_changed_ = true;
}

void UringEngine::submit(IoOperation& operation) {
  CHECK(operation.buffers.size() <= IOV_MAX);
  if (operation.kind == IoOperation::Kind::kCopyRange)
    post([&operation] { finish(operation, -EOPNOTSUPP); });
  else
    pending_for(operation).push(operation);
}

// io_uring_enter() submits the request, with everything else of this turn.
void UringEngine::take_back(int fd, IoOperationList& taken) {
  pending_.take(fd, taken);
  pending_of_sockets_.take(fd, taken);
  if (in_flight_ + sockets_in_flight_ == 0) return;
  // Without room the ring is full of work that ends by itself.
  io_uring_sqe* const entry = next_entry();
  if (entry == nullptr) return;
  io_uring_prep_cancel_fd(entry, fd, IORING_ASYNC_CANCEL_ALL);
  io_uring_sqe_set_data64(entry, kIgnoredTag);
}

IoOperationList& UringEngine::pending_for(const IoOperation& operation) {
  return is_of_socket(operation) ? pending_of_sockets_ : pending_;
}

void UringEngine::run_once(bool deliver_watches) {
  if (watches_.size() == 1 && !has_posted()) {
    if (IoOperation* const only = take_only()) {
      finish(*only, perform(*only));
      return;
    }
  }
  if (!ring_.enabled())
    if (const Result<void> enabled = ring_.enable(); !enabled)
      return refuse_pending(enabled.error());
  if (deliver_watches && dispatch_watches()) return;
  if (watches_changed_) arm_watches();
  queue_pending();
  if (deliver_watches && has_clients()) return serve_clients();
  submit_and_wait(1);
  reap();
  if (deliver_watches) dispatch_watches();
}

// A turn without a ring: the host granted one when the engine was made and refuses it now.
void UringEngine::refuse_pending(const Error& error) {
  LOG_LIMITED(LogLevel::kError, "io_uring", "{}", error.message());
  IoOperationList refused;
  std::swap(refused, pending_);
  const bool any = !refused.empty();
  while (!refused.empty()) finish(refused.pop(), -error.error_number());
  if (any) return;
  pollfd wake{.fd = wake_fd(), .events = POLLIN, .revents = 0};
  if (::poll(&wake, 1, kRefusedMs) > 0) run_posted();
}

io_uring_sqe* UringEngine::next_entry() {
  io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
  if (entry == nullptr) {
    io_uring_submit(ring_.get());
    entry = io_uring_get_sqe(ring_.get());
  }
  return entry;
}

// Entries for new watches and for those that the kernel or unwatch() has ended.
void UringEngine::arm_watches() {
  watches_changed_ = false;
  std::erase_if(watches_, [](const auto& watch) { return watch->removed && !watch->armed; });
  for (const auto& watch : watches_) {
    const bool settled = watch->armed && !watch->removed;
    if (settled) continue;
    io_uring_sqe* const entry = next_entry();
    if (entry == nullptr) {
      watches_changed_ = true;
      return;
    }
    const uint64_t user_data = reinterpret_cast<uint64_t>(watch.get()) | kWatchTag;
    if (watch->removed) {
      io_uring_prep_poll_remove(entry, user_data);
      io_uring_sqe_set_data64(entry, kIgnoredTag);
    } else {
      io_uring_prep_poll_add(entry, watch->fd, POLLIN);
      if (multishot_) entry->len |= IORING_POLL_ADD_MULTI;
      io_uring_sqe_set_data64(entry, user_data);
      watch->armed = true;
    }
  }
}

void UringEngine::queue_pending() {
  while (!pending_of_sockets_.empty() && queue(pending_of_sockets_)) ++sockets_in_flight_;
  while (!pending_.empty() && in_flight_ < kMaxInFlight && queue(pending_)) ++in_flight_;
}

// The first of them; false if the ring has no room now.
bool UringEngine::queue(IoOperationList& pending) {
  io_uring_sqe* const entry = next_entry();
  if (entry == nullptr) return false;
  IoOperation& operation = pending.pop();
  prepare(entry, operation);
  io_uring_sqe_set_data64(entry, reinterpret_cast<uint64_t>(&operation) | kOperationTag);
  return true;
}

// The operation, if there is one and no other.
IoOperation* UringEngine::take_only() {
  if (in_flight_ + sockets_in_flight_ != 0) return nullptr;
  if (pending_.single() && pending_of_sockets_.empty()) return &pending_.pop();
  if (pending_of_sockets_.single() && pending_.empty()) return &pending_of_sockets_.pop();
  return nullptr;
}

// With clients the loop looks for work for a while before it sleeps, and sleeps only when all of
// them have asked to be woken.
void UringEngine::serve_clients() {
  if (io_uring_sq_ready(ring_.get()) != 0) submit_and_wait(0);
  if (look_for_work()) return;
  // While the kernel works for us its threads may need this processor, and its completions wake
  // us: only the guest's next request is worth looking for.
  const bool look = in_flight_ == 0;
  const auto idle_since = std::chrono::steady_clock::now();
  const auto look_until = look ? idle_since + poll_window_.length() : idle_since;
  while (std::chrono::steady_clock::now() < look_until) {
    relax();
    if (look_for_work()) return;
  }
  if (!clients_may_sleep()) return;
  submit_and_wait(1);
  poll_window_.slept(std::chrono::steady_clock::now() - idle_since);
  look_for_work();
}

bool UringEngine::look_for_work() {
  const unsigned flags = __atomic_load_n(ring_.get()->sq.kflags, __ATOMIC_RELAXED);
  if ((flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0) io_uring_get_events(ring_.get());
  const bool completed = reap();
  const bool dispatched = dispatch_watches();
  return turn_clients() || completed || dispatched;
}

void UringEngine::submit_and_wait(unsigned completions) {
  const int submitted = io_uring_submit_and_wait(ring_.get(), completions);
  if (submitted >= 0) return;
  // EBUSY: completions overflowed and have to be reaped first; EAGAIN: out of request memory. What
  // was not submitted stays in the ring for the next turn.
  if (submitted == -EINTR || submitted == -EAGAIN || submitted == -EBUSY) return;
  // Whatever the host has changed, it may change back; what is in flight cannot be given up.
  LOG_LIMITED(LogLevel::kError, "io_uring", "{}",
              Error::of_host("io_uring_enter", -submitted).message());
  ::poll(nullptr, 0, kRefusedMs);
}

// True if there were completions.
bool UringEngine::reap() {
  io_uring_cqe* entries[64];
  unsigned count;
  bool any = false;
  do {
    count = io_uring_peek_batch_cqe(ring_.get(), entries, 64);
    for (unsigned i = 0; i < count; ++i)
      complete(entries[i]->user_data, entries[i]->res, entries[i]->flags);
    io_uring_cq_advance(ring_.get(), count);
    any |= count != 0;
  } while (count == 64);
  return any;
}

void UringEngine::complete(uint64_t user_data, int result, uint32_t flags) {
  if ((user_data & kTagMask) == kIgnoredTag) return;
  if ((user_data & kTagMask) == kWatchTag) {
    on_watch_event(*std::bit_cast<Watch*>(user_data & ~kTagMask), result, flags);
    return;
  }
  IoOperation& operation = *std::bit_cast<IoOperation*>(user_data);
  --(is_of_socket(operation) ? sockets_in_flight_ : in_flight_);
  const bool stopped = result == -EINTR || result == -EAGAIN || result == -ECANCELED;
  if (stopped && was_cancelled(operation)) return finish(operation, -ECANCELED);
  if (result == -EINTR || result == -EAGAIN) {
    pending_for(operation).push(operation);
    return;
  }
  // Nobody asked for that: the kernel could not make a thread for it (a limit on processes).
  const bool no_thread = result == -ECANCELED && !is_of_socket(operation);
  finish(operation, no_thread ? perform(operation) : result);
}

void UringEngine::on_watch_event(Watch& watch, int result, uint32_t flags) {
  if ((flags & IORING_CQE_F_MORE) == 0) {
    watch.armed = false;
    watches_changed_ = true;
    CHECK(result != -EBADF);  // closed before unwatch()
    if (result == -EINVAL) multishot_ = false;
    // The next poll starts level-triggered and must not see this signal again.
    if (result > 0 && !watch.removed) {
      uint64_t counter;
      [[maybe_unused]] const ssize_t got = ::read(watch.fd, &counter, sizeof counter);
    }
  }
  if (result <= 0 || watch.removed) return;
  if (watch.fd == wake_fd()) {
    run_posted();
    return;
  }
  watch.signalled = true;
  watch_signalled_ = true;
}

// True if a handler was called. Handlers may watch and unwatch.
bool UringEngine::dispatch_watches() {
  if (!watch_signalled_) return false;
  watch_signalled_ = false;
  for (size_t i = 1; i < watches_.size(); ++i) {
    Watch& watch = *watches_[i];
    if (!std::exchange(watch.signalled, false) || watch.removed) continue;
    watch.readable();
  }
  return true;
}

}  // namespace hull::blockcore
