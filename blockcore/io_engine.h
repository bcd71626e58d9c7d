// The one place from which blockcore waits for the kernel: io_uring, or a pool of threads where
// io_uring is refused. One engine belongs to one thread at a time (it may be handed over while
// idle); only stop() and post() may be called from others.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "blockcore/task.h"

namespace hull::blockcore {

// One operation of an engine, living in the frame of the coroutine that awaits it. The result is
// what the system call returned: >= 0, or -errno. EINTR and EAGAIN are retried inside.
class IoOperation {
 public:
  enum class Kind : uint8_t { kReadv, kWritev, kDataSync, kFallocate };

  IoOperation(class IoEngine& engine, Kind kind, int fd) : engine_(&engine), kind(kind), fd(fd) {}
  IoOperation(const IoOperation&) = delete;
  IoOperation& operator=(const IoOperation&) = delete;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> awaiting);
  int64_t await_resume() const noexcept { return result; }

 private:
  IoEngine* engine_;

 public:
  const Kind kind;
  const int fd;
  int fallocate_mode = 0;  // kFallocate: FALLOC_FL_*
  uint64_t offset = 0;
  uint64_t length = 0;             // kFallocate
  std::span<const iovec> buffers;  // kReadv, kWritev
  int64_t result = 0;
  std::coroutine_handle<> waiting;
};

enum class IoEngineKind : uint8_t { kAutomatic, kUring, kThreads };

class IoEngine {
 public:
  // kAutomatic prefers io_uring and falls back silently; name() says which it is.
  static Result<std::unique_ptr<IoEngine>> create(IoEngineKind kind = IoEngineKind::kAutomatic);
  virtual ~IoEngine() = default;
  virtual std::string_view name() const = 0;  // "io_uring" or "threads"

  // Awaitables. A transfer may be short, as the system call's may; read_exactly and write_exactly
  // in blockcore/file.h are what formats use. At most IOV_MAX iovecs.
  IoOperation readv(int fd, std::span<const iovec> buffers, uint64_t offset);
  IoOperation writev(int fd, std::span<const iovec> buffers, uint64_t offset);
  IoOperation data_sync(int fd);
  IoOperation fallocate(int fd, int mode, uint64_t offset, uint64_t length);

  // Calls `readable` on the engine's thread whenever `fd` (an eventfd) is signalled; the engine
  // consumes the counter. Until unwatch().
  virtual Result<void> watch(int event_fd, std::function<void()> readable) = 0;
  virtual void unwatch(int event_fd) = 0;

  // Runs the loop until `task` is done and returns its value: for opening, closing and tools.
  template <class T>
  T run_until_done(Task<T> task);
  // Runs the loop until stop(); everything in flight is finished first.
  void run();
  void stop();                                // any thread
  void post(std::function<void()> function);  // any thread; runs on the engine's thread

 protected:
  friend IoOperation;
  // Queues the operation; resumes operation.waiting on this thread when it is done, never before
  // submit() returns.
  virtual void submit(IoOperation& operation) = 0;
  // Submits what is queued, waits for at least one event, resumes what is done.
  virtual void run_once() = 0;
};

}  // namespace hull::blockcore
