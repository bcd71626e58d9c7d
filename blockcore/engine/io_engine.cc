#include "blockcore/engine/io_engine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "blockcore/engine/thread_engine.h"
#include "blockcore/engine/uring_engine.h"

namespace hull::blockcore {

namespace {

int64_t transfer(const IoOperation& operation, int more_flags) {
  const int flags = operation.message_flags | more_flags;
  msghdr message = operation.message;
  return operation.kind == IoOperation::Kind::kReceive ? ::recvmsg(operation.fd, &message, flags)
                                                       : ::sendmsg(operation.fd, &message, flags);
}

int64_t copy_range_once(const IoOperation& operation) {
  auto from = static_cast<off64_t>(operation.source_offset);
  auto to = static_cast<off64_t>(operation.offset);
  return ::copy_file_range(operation.source_fd, &from, operation.fd, &to, operation.length, 0);
}

int64_t perform_once(const IoOperation& operation) {
  const auto offset = static_cast<off_t>(operation.offset);
  const iovec* const buffers = operation.buffers.data();
  const auto count = static_cast<int>(operation.buffers.size());
  switch (operation.kind) {
    case IoOperation::Kind::kReadv: return ::preadv(operation.fd, buffers, count, offset);
    case IoOperation::Kind::kWritev: return ::pwritev(operation.fd, buffers, count, offset);
    case IoOperation::Kind::kDataSync: return ::fdatasync(operation.fd);
    case IoOperation::Kind::kFallocate:
      return ::fallocate(operation.fd, operation.fallocate_mode, offset,
                         static_cast<off_t>(operation.length));
    case IoOperation::Kind::kReceive:
    case IoOperation::Kind::kSend: return transfer(operation, 0);
    case IoOperation::Kind::kCopyRange: return copy_range_once(operation);
  }
  return -1;
}

// EAGAIN comes from descriptors that were opened with O_NONBLOCK.
void wait_until_ready(const IoOperation& operation) {
  pollfd entry{};
  entry.fd = operation.fd;
  const bool reads =
      operation.kind == IoOperation::Kind::kReadv || operation.kind == IoOperation::Kind::kReceive;
  entry.events = reads ? POLLIN : POLLOUT;
  ::poll(&entry, 1, 100);
}

}  // namespace

void IoOperation::await_suspend(std::coroutine_handle<> awaiting) {
  waiting = awaiting;
  number = engine_->next_number_++;
  engine_->submit(*this);
}

Result<std::unique_ptr<IoEngine>> IoEngine::create(IoEngineKind kind) {
  if (kind != IoEngineKind::kThreads) {
    auto uring = UringEngine::create();
    if (uring || kind == IoEngineKind::kUring) return uring;
  }
  return ThreadEngine::create();
}

IoOperation IoEngine::readv(int fd, std::span<const iovec> buffers, uint64_t offset) {
  return IoOperation(*this, IoOperation::Kind::kReadv, fd, offset, buffers);
}

IoOperation IoEngine::writev(int fd, std::span<const iovec> buffers, uint64_t offset) {
  return IoOperation(*this, IoOperation::Kind::kWritev, fd, offset, buffers);
}

IoOperation IoEngine::data_sync(int fd) {
  return IoOperation(*this, IoOperation::Kind::kDataSync, fd, 0, {});
}

IoOperation IoEngine::fallocate(int fd, int mode, uint64_t offset, uint64_t length) {
  return IoOperation(*this, fd, mode, offset, length);
}

IoOperation IoEngine::copy_range(int source_fd, uint64_t source_offset, int fd, uint64_t offset,
                                 uint64_t length) {
  return IoOperation(*this, fd, offset, source_fd, source_offset, length);
}

IoOperation IoEngine::receive(int socket, std::span<const iovec> buffers, bool whole) {
  return IoOperation(*this, IoOperation::Kind::kReceive, socket, buffers, whole ? MSG_WAITALL : 0);
}

IoOperation IoEngine::send(int socket, std::span<const iovec> buffers) {
  return IoOperation(*this, IoOperation::Kind::kSend, socket, buffers, MSG_NOSIGNAL);
}

void IoEngine::cancel(int fd) {
  if (idle()) cancellations_.clear();
  cancellations_.push_back({fd, next_number_});
  const bool posted = !cancelled_.empty();
  take_back(fd, cancelled_);
  if (posted || cancelled_.empty()) return;
  post([this] {
    IoOperationList cancelled;
    std::swap(cancelled, cancelled_);
    while (!cancelled.empty()) finish(cancelled.pop(), -ECANCELED);
  });
}

bool IoEngine::was_cancelled(const IoOperation& operation) const {
  return std::ranges::any_of(cancellations_, [&](const Cancellation& cancellation) {
    return cancellation.fd == operation.fd && operation.number < cancellation.end;
  });
}

int64_t IoEngine::attempt(const IoOperation& operation) {
  int64_t result;
  do {
    result = transfer(operation, MSG_DONTWAIT);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

int64_t IoEngine::perform(const IoOperation& operation) {
  for (;;) {
    const int64_t result = perform_once(operation);
    if (result >= 0) return result;
    if (errno == EAGAIN)
      wait_until_ready(operation);
    else if (errno != EINTR)
      return -errno;
  }
}

void IoEngine::finish(IoOperation& operation, int64_t result) {
  operation.result = result;
  // The operation lives in the frame that is resumed here and may be gone afterwards.
  operation.waiting.resume();
}

void IoEngine::begin_running() {
  CHECK(!running_);
  running_ = true;
  enter();
}

void IoEngine::run() {
  begin_running();
  while (!stop_.load(std::memory_order_acquire)) run_once(true);
  while (has_posted() || !idle()) {
    if (has_posted())
      run_posted();
    else
      run_once(false);
  }
  stop_.store(false, std::memory_order_relaxed);
  running_ = false;
}

// By index: a client may remove itself; the one after it then waits for the next turn.
bool IoEngine::turn_clients() {
  bool worked = false;
  for (size_t i = 0; i < clients_.size(); ++i) worked |= clients_[i]->turn();
  return worked;
}

bool IoEngine::clients_may_sleep() {
  bool all = true;
  for (size_t i = 0; i < clients_.size(); ++i) all &= clients_[i]->may_sleep();
  return all;
}

void IoEngine::stop() {
  stop_.store(true, std::memory_order_release);
  wake_.signal();
}

void IoEngine::post(std::function<void()> function) {
  {
    const MutexLock lock(mutex_);
    posted_.push_back(std::move(function));
    has_posted_.store(true, std::memory_order_relaxed);
  }
  wake_.signal();
}

void IoEngine::run_posted() {
  wake_.consume();
  std::vector<std::function<void()>> functions;
  {
    const MutexLock lock(mutex_);
    functions.swap(posted_);
    has_posted_.store(false, std::memory_order_relaxed);
  }
  for (const auto& function : functions) function();
}

}  // namespace hull::blockcore
