// What the vCPUs of a machine are to do, given by one thread and acknowledged by all of them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>

#include "base/event_fd.h"
#include "base/mutex.h"

namespace hull::vmm {

enum class VcpuOrder : uint8_t {
  kRun,
  kPause,  // out of the guest, with no access half done; the thread waits for the next order
  kEnd,    // the same, and the thread ends
};

class VcpuOrders {
 public:
  static Result<std::unique_ptr<VcpuOrders>> create();

  // How many threads there are. Before the first of them calls next().
  void set_threads(unsigned count) { threads_ = count; }

  // The owner's thread. Whoever is in the guest has to be kicked out of it afterwards.
  void give(VcpuOrder order);
  VcpuOrder order() const;
  // All have acknowledged the last order.
  bool obeyed() const;
  // Readable once obeyed() has become true, until consume().
  const EventFd& obeyed_event() const { return event_; }

  // A vCPU's thread. True if there is another order than the one that next() returned.
  bool changed(uint64_t seen) const { return generation_.load() != seen; }
  // Acknowledges the present order and returns it; does not return while it is kPause. `seen`
  // starts as 0. With `ended` (the guest's run is over) the order kRun is no reason to return
  // either.
  VcpuOrder next(uint64_t& seen, bool ended);

 private:
  explicit VcpuOrders(EventFd event) : event_(std::move(event)) {}

  const EventFd event_;
  unsigned threads_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable given_;
  // Written under the mutex.
  std::atomic<uint64_t> generation_{1};
  VcpuOrder order_ = VcpuOrder::kPause;
  unsigned acknowledged_ = 0;
};

}  // namespace hull::vmm
