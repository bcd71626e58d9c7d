// Reads of a file that take as long as a test wants, however quick the machine is: they are held in
// front of the system call, on the thread that makes it. For engines that read by preadv(2).
#pragma once

#include "base/unique_fd.h"

namespace hull::testing {

// One at a time in a process.
class HeldReads {
 public:
  HeldReads();
  ~HeldReads() { release(); }
  HeldReads(const HeldReads&) = delete;
  HeldReads& operator=(const HeldReads&) = delete;

  // Reads of it are held, and end with 0 bytes.
  int fd() const { return file_.get(); }
  // Those that wait go on, and others do not wait any more.
  void release();

 private:
  const UniqueFd file_;
};

}  // namespace hull::testing
