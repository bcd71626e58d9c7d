// The ring of a UringEngine: made, enabled by the thread that will use it, and made again for
// another thread.
//
// It is made disabled and belongs to the first thread that needs it (SINGLE_ISSUER with
// DEFER_TASKRUN, where the kernel knows them).
#pragma once

#include <liburing.h>

#include <cstdint>

#include "base/result.h"

namespace hull::blockcore {

class UringRing {
 public:
  UringRing() = default;
  UringRing(const UringRing&) = delete;
  UringRing& operator=(const UringRing&) = delete;
  ~UringRing() { destroy(); }

  // kHost if the kernel or its policy refuses io_uring or one of its system calls. There must be
  // none yet.
  Result<void> create();
  // Nothing may be in flight; the polls that were armed are gone.
  void destroy();
  // The calling thread becomes the single issuer of the ring, which is made if there is none. kHost
  // if the host refuses now what it granted before.
  Result<void> enable();
  bool enabled() const { return enabled_; }
  // Another thread than the calling one has enabled it.
  bool is_foreign() const;

  // Of an enabled ring, for its thread.
  io_uring* get() { return &ring_; }

 private:
  Result<void> probe() const;

  io_uring ring_{};
  bool exists_ = false;
  bool enabled_ = false;
  uint64_t owner_ = 0;  // of an enabled ring: number of its thread
};

}  // namespace hull::blockcore
