#include "vmm/machine.h"

#include <condition_variable>

#include "base/mutex.h"

namespace hull::vmm {

Machine::~Machine() {
  if (orders_ != nullptr) order(VcpuOrder::kEnd);  // not if building it failed before
}

Result<void> Machine::start() {
  orders_->set_threads(static_cast<unsigned>(vcpus_.size()));
  for (const auto& vcpu : vcpus_) TRY(vcpu->start());
  return {};
}

void Machine::order(VcpuOrder order) {
  orders_->give(order);
  for (const auto& vcpu : vcpus_) vcpu->kick();
}

// Shared: the last device may be done when nobody waits any more.
struct Machine::Drain {
  explicit Drain(size_t devices) : active(devices), done(devices) {}
  void is_done(size_t device) {
    const MutexLock lock(mutex);
    done[device] = true;
    if (--active == 0) none_active.notify_all();
  }
  bool wait(std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    const MutexLock lock(mutex);
    while (active != 0)
      if (none_active.wait_until(mutex, deadline) == std::cv_status::timeout) break;
    return active == 0;
  }

  Mutex mutex;
  std::condition_variable_any none_active;
  size_t active GUARDED_BY(mutex);
  std::vector<bool> done GUARDED_BY(mutex);
};

bool Machine::pause_devices(std::chrono::milliseconds limit) {
  if (pause_ == nullptr) {
    pause_ = std::make_shared<Drain>(virtio_.size());
    for (size_t i = 0; i < virtio_.size(); ++i)
      virtio_[i]->frontend().pause([pause = pause_, i] { pause->is_done(i); });
  }
  return pause_->wait(limit);
}

std::string Machine::busy_devices() const {
  std::string names;
  if (pause_ == nullptr) return names;
  const MutexLock lock(pause_->mutex);
  for (size_t i = 0; i < virtio_.size(); ++i)
    if (!pause_->done[i])
      names.append(names.empty() ? "" : ", ").append(virtio_[i]->frontend().device().name());
  return names;
}

void Machine::prepare_to_go_on() {
  for (const auto& vcpu : vcpus_) board_->say_it_stood_still(vcpu->vcpu());
  pause_ = nullptr;
  for (const auto& transport : virtio_) transport->frontend().resume();
}

bool Machine::drain_devices(std::chrono::milliseconds limit) {
  if (drain_ == nullptr) {
    drain_ = std::make_shared<Drain>(virtio_.size());
    for (size_t i = 0; i < virtio_.size(); ++i)
      virtio_[i]->frontend().stop([drain = drain_, i] { drain->is_done(i); });
  }
  return drain_->wait(limit);
}

void Machine::abandon_devices() {
  for (const auto& transport : virtio_) transport->frontend().abandon();
}

}  // namespace hull::vmm
