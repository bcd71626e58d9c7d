#include "virtio/device_host.h"

#include "base/log.h"

namespace hull::virtio {

Result<std::unique_ptr<DeviceHost>> DeviceHost::create(std::unique_ptr<VirtioDevice> device,
                                                       const GuestMemory& memory,
                                                       DeviceInterrupt& interrupt) {
  std::vector<EventFd> kicks;
  for (size_t i = 0; i < device->queue_max_sizes().size(); ++i)
    kicks.push_back(TRY(EventFd::create()));
  return std::unique_ptr<DeviceHost>(
      new DeviceHost(std::move(device), memory, interrupt, std::move(kicks)));
}

DeviceHost::DeviceHost(std::unique_ptr<VirtioDevice> device, const GuestMemory& memory,
                       DeviceInterrupt& interrupt, std::vector<EventFd> kicks)
    : device_(std::move(device)),
      memory_(memory),
      interrupt_(interrupt),
      kicks_(std::move(kicks)),
      queues_(kicks_.size()) {}

DeviceHost::~DeviceHost() { reset_device(); }

FeatureSet DeviceHost::all_offered() const {
  return device_->device_features()
      .with(Feature::kVersion1)
      .with(Feature::kRingIndirectDescriptors)
      .with(Feature::kRingEventIndex);
}

uint32_t DeviceHost::offered_features(uint32_t word) const {
  return word < 2 ? static_cast<uint32_t>(all_offered().bits() >> (32 * word)) : 0;
}

void DeviceHost::accept_features(uint32_t word, uint32_t bits) {
  const MutexLock lock(mutex_);
  if (resetting_ || !status_.accepts_features() || word >= 2) return;
  const unsigned shift = 32 * word;
  driver_features_ = (driver_features_ & ~(uint64_t{UINT32_MAX} << shift)) | uint64_t{bits}
                                                                                 << shift;
}

bool DeviceHost::features_acceptable() const {
  const FeatureSet wanted(driver_features_);
  // 6.1: we are not a legacy device, so VERSION_1 is not for the driver to choose.
  return wanted.is_subset_of(all_offered()) && wanted.has(Feature::kVersion1);
}

uint8_t DeviceHost::status() const {
  const MutexLock lock(mutex_);
  const bool failed = needs_reset_.load(std::memory_order_acquire);
  return static_cast<uint8_t>(status_.value() | (failed ? kStatusNeedsReset : 0));
}

StatusAction DeviceHost::write_status(uint8_t value) {
  StatusAction action;
  {
    const MutexLock lock(mutex_);
    // A second vCPU that writes while the first one resets: the first one's reset stands.
    if (resetting_) return StatusAction::kRefused;
    action = status_.write(value, features_acceptable());
    if (action == StatusAction::kActivate) activate();
  }
  if (action == StatusAction::kReset) reset_device();
  return action;
}

void DeviceHost::reset_device() {
  bool active;
  {
    const MutexLock lock(mutex_);
    if (resetting_) return;
    resetting_ = true;
    active = active_;
  }
  if (active) device_->reset();
  const MutexLock lock(mutex_);
  active_ = false;
  status_.reset();
  driver_features_ = 0;
  for (QueueRegisters& queue : queues_) queue = QueueRegisters();
  needs_reset_.store(false, std::memory_order_release);
  resetting_ = false;
}

void DeviceHost::activate() {
  Result<void> result;
  if (auto resources = build_resources())
    result = device_->activate(*std::move(resources));
  else
    result = std::unexpected(std::move(resources).error());
  if (!result) {
    LOG_LIMITED(LogLevel::kWarn, "{}: cannot be activated: {}", device_->name(),
                result.error().message());
    interrupt_.device_failed();
    return;
  }
  active_ = true;
  // The driver may have kicked after DRIVER_OK and before we listened.
  for (const EventFd& kick : kicks_) kick.signal();
}

Result<DeviceResources> DeviceHost::build_resources() {
  DeviceResources resources{FeatureSet(driver_features_), {}, &interrupt_};
  for (size_t i = 0; i < queues_.size(); ++i) {
    const QueueRegisters& registers = queues_[i];
    if (!registers.ready) {
      resources.queues.emplace_back();
      continue;
    }
    const QueueConfig config{
        .size = registers.size,
        .max_size = device_->queue_max_sizes()[i],
        .descriptors = GuestAddress{registers.descriptors},
        .driver = GuestAddress{registers.driver},
        .device = GuestAddress{registers.device},
        .indirect_descriptors = resources.features.has(Feature::kRingIndirectDescriptors),
        .event_index = resources.features.has(Feature::kRingEventIndex),
    };
    auto queue = Queue::create(config, memory_);
    if (!queue) return fail(ErrorKind::kInvalidConfig, "queue {}: {}", i, describe(queue.error()));
    resources.queues.emplace_back(QueueResources{*std::move(queue), &kicks_[i]});
  }
  return resources;
}

uint16_t DeviceHost::queue_max_size(uint32_t queue) const {
  return queue < kicks_.size() ? device_->queue_max_sizes()[queue] : uint16_t{0};
}

bool DeviceHost::queue_ready(uint32_t queue) const {
  const MutexLock lock(mutex_);
  return queue < queues_.size() && queues_[queue].ready;
}

DeviceHost::QueueRegisters* DeviceHost::writable_queue(uint32_t queue) {
  // After DRIVER_OK the queues are latched: later writes are refused by state.
  const bool writable = queue < queues_.size() && !resetting_ && status_.accepts_queues();
  return writable ? &queues_[queue] : nullptr;
}

void DeviceHost::set_queue_size(uint32_t queue, uint32_t size) {
  const MutexLock lock(mutex_);
  QueueRegisters* const registers = writable_queue(queue);
  if (registers != nullptr && !registers->ready) registers->size = size;
}

void DeviceHost::set_queue_area(uint32_t queue, QueueArea area, bool high, uint32_t value) {
  const MutexLock lock(mutex_);
  QueueRegisters* const registers = writable_queue(queue);
  if (registers == nullptr || registers->ready) return;
  uint64_t& address = area == QueueArea::kDescriptors ? registers->descriptors
                      : area == QueueArea::kDriver    ? registers->driver
                                                      : registers->device;
  const unsigned shift = high ? 32 : 0;
  address = (address & ~(uint64_t{UINT32_MAX} << shift)) | uint64_t{value} << shift;
}

void DeviceHost::set_queue_ready(uint32_t queue, bool ready) {
  const MutexLock lock(mutex_);
  if (QueueRegisters* const registers = writable_queue(queue)) registers->ready = ready;
}

void DeviceHost::notify_queue(uint32_t queue) const {
  if (queue < kicks_.size()) kicks_[queue].signal();
}

void DeviceHost::read_config(uint64_t offset, std::span<uint8_t> data) const {
  const MutexLock lock(mutex_);
  device_->read_config(offset, data);
}

void DeviceHost::write_config(uint64_t offset, std::span<const uint8_t> data) {
  const MutexLock lock(mutex_);
  if (!resetting_) device_->write_config(offset, data);
}

}  // namespace hull::virtio
