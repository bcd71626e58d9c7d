// Lines to a descriptor that may be full, slow, shared and read by nobody: a standard error.
//
// write() never waits, whoever calls it and whatever he holds. What the other side does not take at
// once is kept, up to a limit, for a thread that exists while there is something to wait for; what
// does not fit is lost, and a line says how many were.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "base/non_blocking_fd.h"
#include "base/thread.h"

namespace hull {

class LineWriter {
 public:
  static constexpr size_t kMaxKeptBytes = 256 << 10;

  // `fd` is borrowed and looked at with each line: dup2(2) may put something else there.
  explicit LineWriter(int fd) : fd_(fd) {}
  ~LineWriter();  // what is kept is lost
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // `line` ends with a newline. Up to PIPE_BUF bytes of it arrive in one piece. Any thread.
  void write(std::string line);
  // Waits until everything has arrived, but no longer than `limit`, nor for one who takes nothing
  // for a third of it. Any thread.
  void flush(std::chrono::milliseconds limit);

 private:
  void say_what_was_lost(size_t more_bytes) REQUIRES(mutex_);
  void keep(std::string line) REQUIRES(mutex_);
  void write_kept() REQUIRES(mutex_);
  void look_at_descriptor() REQUIRES(mutex_);
  void start_waiting() REQUIRES(mutex_);
  void wait_and_write();

  const int fd_;
  Mutex mutex_;
  NonBlockingFd out_ GUARDED_BY(mutex_);
  struct stat out_is_ GUARDED_BY(mutex_) {};
  std::deque<std::string> kept_ GUARDED_BY(mutex_);
  size_t kept_bytes_ GUARDED_BY(mutex_) =
      0;                                   // of all lines, with what has been written of the first
  size_t written_ GUARDED_BY(mutex_) = 0;  // of the first line
  uint64_t lost_ GUARDED_BY(mutex_) = 0;   // lines, since the last that said so
  bool waiting_ GUARDED_BY(mutex_) = false;
  bool quit_ GUARDED_BY(mutex_) = false;
  Thread waiter_ GUARDED_BY(mutex_);
};

}  // namespace hull
