// Which global system interrupt leads where, for those who need a descriptor that raises a message
// interrupt (vhost, VFIO). Everybody else signals messages directly (vmm/interrupt_lines.h): a
// machine without such users never sets a table, which would cost its start an ioctl.
//
// The ioctl replaces the whole table. So there is one owner of it, which adds to the lines that
// KVM has made by itself.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <map>
#include <vector>

#include "base/mutex.h"
#include "devices/interrupt_line.h"
#include "vmm/kvm.h"

namespace hull::vmm {

// All members from any thread.
class GsiRoutes {
 public:
  static constexpr size_t kMaxRoutes = 4096;  // KVM_CAP_IRQ_ROUTING of all kernels since 4.12

  // `vm` outlives the routes; `fixed` are the architecture's own, all kept.
  GsiRoutes(Vm& vm, std::vector<kvm_irq_routing_entry> fixed);

  // The lowest GSI that is free and above the fixed ones; kOutOfRange if there is none. These
  // three change nothing until commit().
  Result<uint32_t> add(const devices::MsiMessage& message);
  void set(uint32_t gsi, const devices::MsiMessage& message);  // of one that was added
  void remove(uint32_t gsi);

  // One ioctl for all that has changed since the last one; none if nothing has.
  Result<void> commit();

 private:
  Vm& vm_;
  const std::vector<kvm_irq_routing_entry> fixed_;
  uint32_t first_gsi_;
  Mutex mutex_;
  std::map<uint32_t, devices::MsiMessage> messages_ GUARDED_BY(mutex_);
  bool changed_ GUARDED_BY(mutex_) = false;
};

}  // namespace hull::vmm
