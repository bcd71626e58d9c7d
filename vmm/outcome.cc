#include "vmm/outcome.h"

#include "base/check.h"

namespace hull::vmm {

Result<std::unique_ptr<Outcome>> Outcome::create() {
  return std::unique_ptr<Outcome>(new Outcome(TRY(EventFd::create())));
}

void Outcome::record(EndReason reason) {
  const MutexLock lock(mutex_);
  if (ended_.load(std::memory_order_relaxed)) return;
  reason_ = std::move(reason);
  ended_.store(true, std::memory_order_release);
  event_.signal();
}

EndReason Outcome::reason() const {
  const MutexLock lock(mutex_);
  CHECK(ended_.load(std::memory_order_relaxed));
  return reason_;
}

}  // namespace hull::vmm
