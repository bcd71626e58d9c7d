// The one place from which blockcore waits for the kernel: io_uring, or a pool of threads where
// io_uring is refused. One engine belongs to one thread at a time (it may be handed over while
// idle: nothing in flight and not running); only stop() and post() may be called from others.
//
// Operations that are started in one turn of the loop reach the kernel together, in one system
// call. While nobody watches a descriptor and one operation at a time is in flight, as when a disk
// is opened, run_until_done() makes the plain system call instead: no ring, no thread.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/event_fd.h"
#include "base/mutex.h"
#include "blockcore/async/task.h"

namespace hull::blockcore {

class IoEngine;

// One operation of an engine, living in the frame of the coroutine that awaits it. The result is
// what the system call returned: >= 0, or -errno. EINTR and EAGAIN are retried inside.
class IoOperation {
 public:
  enum class Kind : uint8_t {
    kReadv,
    kWritev,
    kDataSync,
    kFallocate,
    kReceive,
    kSend,
    kCopyRange,
  };

  IoOperation(IoEngine& engine, Kind operation_kind, int descriptor, uint64_t first_byte,
              std::span<const iovec> memory)
      : kind(operation_kind),
        fd(descriptor),
        offset(first_byte),
        buffers(memory),
        engine_(&engine) {}
  IoOperation(IoEngine& engine, int descriptor, int mode, uint64_t first_byte, uint64_t byte_count)
      : kind(Kind::kFallocate),
        fd(descriptor),
        fallocate_mode(mode),
        offset(first_byte),
        length(byte_count),
        engine_(&engine) {}
  IoOperation(IoEngine& engine, int descriptor, uint64_t first_byte, int source_descriptor,
              uint64_t source_first_byte, uint64_t byte_count)
      : kind(Kind::kCopyRange),
        fd(descriptor),
        source_fd(source_descriptor),
        offset(first_byte),
        source_offset(source_first_byte),
        length(byte_count),
        engine_(&engine) {}
  IoOperation(IoEngine& engine, Kind operation_kind, int socket, std::span<const iovec> memory,
              int flags)
      : kind(operation_kind), fd(socket), message_flags(flags), buffers(memory), engine_(&engine) {
    message.msg_iov = const_cast<iovec*>(memory.data());
    message.msg_iovlen = memory.size();
  }
  IoOperation(const IoOperation&) = delete;
  IoOperation& operator=(const IoOperation&) = delete;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> awaiting);
  int64_t await_resume() const noexcept { return result; }

  const Kind kind;
  const int fd;
  int source_fd = -1;              // kCopyRange
  int fallocate_mode = 0;          // kFallocate: FALLOC_FL_*
  int message_flags = 0;           // kReceive, kSend: MSG_*
  uint64_t offset = 0;             // bytes
  uint64_t source_offset = 0;      // kCopyRange: bytes
  uint64_t length = 0;             // kFallocate, kCopyRange: bytes
  std::span<const iovec> buffers;  // kReadv, kWritev, kReceive, kSend
  msghdr message{};                // kReceive, kSend: the same buffers as the kernel wants them
  int64_t result = 0;
  std::coroutine_handle<> waiting;
  uint64_t number = 0;          // of its submission; the engine's
  IoOperation* next = nullptr;  // the engine's lists

 private:
  IoEngine* engine_;
};

// Operations in order of arrival; borrows them.
class IoOperationList {
 public:
  bool empty() const { return first_ == nullptr; }
  bool single() const { return first_ != nullptr && first_ == last_; }
  void push(IoOperation& operation) {
    operation.next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = &operation;
    last_ = &operation;
  }
  IoOperation& pop() {
    IoOperation& operation = *first_;
    first_ = operation.next;
    return operation;
  }
  // Moves those on `fd` to the end of `taken`.
  void take(int fd, IoOperationList& taken) {
    IoOperationList others;
    while (!empty()) {
      IoOperation& operation = pop();
      (operation.fd == fd ? taken : others).push(operation);
    }
    *this = others;
  }

 private:
  IoOperation* first_ = nullptr;
  IoOperation* last_ = nullptr;
};

// Somebody whose work appears in memory and not through the kernel: a virtqueue. Called on the
// engine's thread.
class LoopClient {
 public:
  virtual ~LoopClient() = default;
  // Once per turn of the loop, after the completions of that turn: takes new work, announces what
  // is finished. True if there was new work.
  virtual bool turn() = 0;
  // The loop wants to sleep: from now on new work has to signal a watched descriptor. False if
  // there is some already.
  virtual bool may_sleep() = 0;
};

enum class IoEngineKind : uint8_t { kAutomatic, kUring, kThreads };

class IoEngine {
 public:
  // kAutomatic prefers io_uring and falls back silently; name() says which it is.
  static Result<std::unique_ptr<IoEngine>> create(IoEngineKind kind = IoEngineKind::kAutomatic);
  IoEngine(const IoEngine&) = delete;
  IoEngine& operator=(const IoEngine&) = delete;
  virtual ~IoEngine() = default;              // CHECKs that nothing is in flight
  virtual std::string_view name() const = 0;  // "io_uring" or "threads"

  // Awaitables. A transfer may be short, as the system call's may; File (blockcore/file/file.h) is
  // what formats use. At most IOV_MAX iovecs.
  IoOperation readv(int fd, std::span<const iovec> buffers, uint64_t offset);
  IoOperation writev(int fd, std::span<const iovec> buffers, uint64_t offset);
  IoOperation data_sync(int fd);
  IoOperation fallocate(int fd, int mode, uint64_t offset, uint64_t length);
  // copy_file_range: may be short, 0 at the source's end. An io_uring has none: -EOPNOTSUPP.
  IoOperation copy_range(int source_fd, uint64_t source_offset, int fd, uint64_t offset,
                         uint64_t length);
  // Of a blocking stream socket; at most one receive and one send at a time each. shutdown(2) ends
  // them. With `whole` a receive is short only at the end of the stream or as an exception; 0 is
  // the end. A send that nobody can receive is -EPIPE and no signal.
  IoOperation receive(int socket, std::span<const iovec> buffers, bool whole);
  IoOperation send(int socket, std::span<const iovec> buffers);

  // What was submitted on `fd` so far and waits (for its turn, a thread, room in a pipe) ends soon,
  // with -ECANCELED. What a file system or a device is in the middle of ends as it would have: the
  // kernel takes none of it back. Nothing is resumed before this returns. On the engine's thread.
  void cancel(int fd);

  // Calls `readable` on the engine's thread after `fd` (an eventfd) was signalled, once for any
  // number of signals; until unwatch(), after which it is never called again. What the counter
  // holds has no meaning: the engine may leave it as it is. `readable` may watch and unwatch.
  // Called on the engine's thread or while the engine is idle.
  virtual Result<void> watch(int event_fd, std::function<void()> readable) = 0;
  virtual void unwatch(int event_fd) = 0;

  // Until remove_client(); both as watch(). A client may remove itself in its calls.
  void add_client(LoopClient& client) { clients_.push_back(&client); }
  void remove_client(LoopClient& client) { std::erase(clients_, &client); }

  // Runs the loop until `task` is done and returns its value: for opening, closing and tools.
  template <class T>
  T run_until_done(Task<T> task);
  // Runs the loop until stop(), then what was posted, then until nothing is in flight; what a watch
  // reports in that last phase is kept for the next run(). Stop the sources of work first, or it
  // never ends.
  void run();
  void stop();                                // any thread; before run() it makes run() return
  void post(std::function<void()> function);  // any thread; runs on the engine's thread

 protected:
  explicit IoEngine(EventFd wake) : wake_(std::move(wake)) {}

  friend IoOperation;
  // Queues the operation; resumes operation.waiting on this thread when it is done, never before
  // submit() returns.
  virtual void submit(IoOperation& operation) = 0;
  // Of cancel(): moves what the engine itself still has to `taken`, and asks the kernel for the
  // rest.
  virtual void take_back(int fd, IoOperationList& taken) = 0;
  bool was_cancelled(const IoOperation& operation) const;
  // Called when a thread begins to drive the loop.
  virtual void enter() = 0;
  // Submits what is queued, waits for at least one event, resumes what is done. With
  // `deliver_watches` false, watches stay pending.
  virtual void run_once(bool deliver_watches) = 0;
  virtual bool idle() const = 0;  // nothing queued, nothing in flight

  // Blocks. EINTR and EAGAIN are retried.
  static int64_t perform(const IoOperation& operation);
  // kReceive or kSend without waiting: -EAGAIN if it would have to. EINTR is retried.
  static int64_t attempt(const IoOperation& operation);
  static bool is_of_socket(const IoOperation& operation) {
    return operation.kind == IoOperation::Kind::kReceive ||
           operation.kind == IoOperation::Kind::kSend;
  }
  static void finish(IoOperation& operation, int64_t result);
  int wake_fd() const { return wake_.fd(); }
  void run_posted();  // call when wake_fd() became readable
  bool has_clients() const { return !clients_.empty(); }
  bool turn_clients();  // true: there was work
  bool clients_may_sleep();
  bool has_posted() const { return has_posted_.load(std::memory_order_relaxed); }

 private:
  void begin_running();

  // Of operations on `fd` with numbers below `end`.
  struct Cancellation {
    int fd;
    uint64_t end;
  };

  const EventFd wake_;
  // The engine's thread only.
  std::vector<LoopClient*> clients_;
  uint64_t next_number_ = 0;
  std::vector<Cancellation> cancellations_;
  IoOperationList cancelled_;
  Mutex mutex_;
  std::vector<std::function<void()>> posted_ GUARDED_BY(mutex_);
  std::atomic<bool> has_posted_{false};
  std::atomic<bool> stop_{false};
  bool running_ = false;  // the engine's thread only
};

namespace internal {

template <class T>
Task<void> store_result(Task<T> task, std::optional<T>& result) {
  result.emplace(co_await task);
}
inline Task<void> store_result(Task<void> task, std::optional<bool>& result) {
  co_await task;
  result = true;
}

}  // namespace internal

template <class T>
T IoEngine::run_until_done(Task<T> task) {
  begin_running();
  std::optional<std::conditional_t<std::is_void_v<T>, bool, T>> result;
  start_detached(internal::store_result(std::move(task), result));
  while (!result) run_once(true);
  running_ = false;
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

}  // namespace hull::blockcore
