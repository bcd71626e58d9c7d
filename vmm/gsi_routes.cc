#include "vmm/gsi_routes.h"

#include <algorithm>

#include "base/check.h"

namespace hull::vmm {

namespace {

kvm_irq_routing_entry to_kvm(uint32_t gsi, const devices::MsiMessage& message) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_MSI;
  entry.u.msi.address_lo = static_cast<__u32>(message.address);
  entry.u.msi.address_hi = static_cast<__u32>(message.address >> 32);
  entry.u.msi.data = message.data;
  return entry;
}

}  // namespace

GsiRoutes::GsiRoutes(Vm& vm, std::vector<kvm_irq_routing_entry> fixed)
    : vm_(vm), fixed_(std::move(fixed)), first_gsi_(0) {
  for (const kvm_irq_routing_entry& entry : fixed_)
    first_gsi_ = std::max(first_gsi_, entry.gsi + 1);
}

Result<uint32_t> GsiRoutes::add(const devices::MsiMessage& message) {
  const MutexLock lock(mutex_);
  if (fixed_.size() + messages_.size() >= kMaxRoutes)
    return fail(ErrorKind::kOutOfRange, "more than {} interrupt routes", kMaxRoutes);
  uint32_t gsi = first_gsi_;
  while (messages_.contains(gsi)) ++gsi;
  messages_.emplace(gsi, message);
  changed_ = true;
  return gsi;
}

void GsiRoutes::set(uint32_t gsi, const devices::MsiMessage& message) {
  const MutexLock lock(mutex_);
  const auto found = messages_.find(gsi);
  CHECK(found != messages_.end());
  found->second = message;
  changed_ = true;
}

void GsiRoutes::remove(uint32_t gsi) {
  const MutexLock lock(mutex_);
  CHECK(messages_.erase(gsi) == 1);
  changed_ = true;
}

Result<void> GsiRoutes::commit() {
  const MutexLock lock(mutex_);
  if (!changed_) return {};
  std::vector<kvm_irq_routing_entry> table = fixed_;
  for (const auto& [gsi, message] : messages_) table.push_back(to_kvm(gsi, message));
  TRY(vm_.set_gsi_routes(table));
  changed_ = false;
  return {};
}

}  // namespace hull::vmm
