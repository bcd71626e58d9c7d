// Requests of a client that wait for their replies.
#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "blockcore/nbd/protocol.h"

namespace hull::blockcore::nbd {

// Lives in the frame of the coroutine that waits for it.
struct PendingRequest {
  Command command;
  uint64_t offset = 0;
  uint32_t length = 0;
  std::span<const iovec> buffers = {};                      // of a read
  std::vector<std::pair<uint64_t, uint64_t>> covered = {};  // [begin, end) of what came
  std::vector<ExtentDescriptor> extents = {};
  uint32_t error = 0;  // on the wire
  unsigned age = 0;    // in calls of grow_older()
  bool done = false;
  std::coroutine_handle<> waiting = {};  // to be resumed when it is done
};

// By their cookies. Borrows the requests from enter() to finish().
class PendingRequests {
 public:
  // Gives its cookie.
  uint64_t enter(PendingRequest& request);
  // nullptr: nothing with that cookie is under way.
  PendingRequest* find(uint64_t cookie) const;
  // Resumes who waits for it, which is done when this returns.
  void finish(uint64_t cookie);
  // What is under way fails. Nothing may be entered meanwhile.
  void fail_all();
  // All that is under way; the age of the oldest.
  unsigned grow_older();
  bool empty() const { return count_ == 0; }

 private:
  // A cookie is the slot and how often it was used, so that an old one is known as such.
  struct Slot {
    PendingRequest* request = nullptr;
    uint32_t uses = 0;
  };
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  unsigned count_ = 0;
};

}  // namespace hull::blockcore::nbd
