#include "vmm/vcpu_orders.h"

namespace hull::vmm {

Result<std::unique_ptr<VcpuOrders>> VcpuOrders::create() {
  return std::unique_ptr<VcpuOrders>(new VcpuOrders(TRY(EventFd::create())));
}

void VcpuOrders::give(VcpuOrder order) {
  const std::lock_guard lock(mutex_);
  order_ = order;
  acknowledged_ = 0;
  event_.consume();
  generation_.fetch_add(1);
  given_.notify_all();
  if (threads_ == 0) event_.signal();
}

VcpuOrder VcpuOrders::order() const {
  const std::lock_guard lock(mutex_);
  return order_;
}

bool VcpuOrders::obeyed() const {
  const std::lock_guard lock(mutex_);
  return acknowledged_ == threads_;
}

VcpuOrder VcpuOrders::next(uint64_t& seen, bool ended) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (const uint64_t generation = generation_.load(); seen != generation) {
      seen = generation;
      if (++acknowledged_ == threads_) event_.signal();
    }
    if (order_ == VcpuOrder::kEnd || (order_ == VcpuOrder::kRun && !ended)) return order_;
    given_.wait(lock, [&] { return generation_.load() != seen; });
  }
}

}  // namespace hull::vmm
