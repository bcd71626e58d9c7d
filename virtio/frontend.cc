#include "virtio/frontend.h"

#include "base/log.h"

namespace hull::virtio {

namespace {

// For owners that did not see to it that the device stops.
constexpr std::chrono::seconds kLastPatience{10};

}  // namespace

Result<std::unique_ptr<Frontend>> Frontend::create(std::unique_ptr<VirtioDevice> device,
                                                   const GuestMemory& memory,
                                                   FrontendEvents& events,
                                                   std::chrono::milliseconds reset_patience) {
  std::vector<EventFd> kicks;
  for (size_t i = 0; i < device->queue_max_sizes().size(); ++i)
    kicks.push_back(TRY(EventFd::create()));
  return std::unique_ptr<Frontend>(
      new Frontend(std::move(device), memory, events, std::move(kicks), reset_patience));
}

Frontend::Frontend(std::unique_ptr<VirtioDevice> device, const GuestMemory& memory,
                   FrontendEvents& events, std::vector<EventFd> kicks,
                   std::chrono::milliseconds reset_patience)
    : device_(std::move(device)),
      memory_(memory),
      events_(events),
      kicks_(std::move(kicks)),
      reset_patience_(reset_patience),
      queues_(kicks_.size()) {}

Frontend::~Frontend() {
  stop([] {});
  if (wait_until_inactive(Clock::now() + kLastPatience)) return;
  abandon();
  CHECK(wait_until_inactive(Clock::now() + kLastPatience));
}

FeatureSet Frontend::all_offered() const {
  return device_->device_features()
      .with(Feature::kVersion1)
      .with(Feature::kRingIndirectDescriptors)
      .with(Feature::kRingEventIndex);
}

uint32_t Frontend::offered_features(uint32_t word) const {
  return word < 2 ? static_cast<uint32_t>(all_offered().bits() >> (32 * word)) : 0;
}

void Frontend::accept_features(uint32_t word, uint32_t bits) {
  const MutexLock lock(mutex_);
  if (phase_ == Phase::kStopping || !status_.accepts_features() || word >= 2) return;
  const unsigned shift = 32 * word;
  driver_features_ = (driver_features_ & ~(uint64_t{UINT32_MAX} << shift)) | uint64_t{bits}
                                                                                 << shift;
}

bool Frontend::features_acceptable() const {
  const FeatureSet wanted(driver_features_);
  // 6.1: we are not a legacy device, so VERSION_1 is not for the driver to choose.
  return wanted.is_subset_of(all_offered()) && wanted.has(Feature::kVersion1);
}

uint8_t Frontend::status() {
  bool give_up;
  uint8_t value;
  {
    const MutexLock lock(mutex_);
    give_up = phase_ == Phase::kStopping && Clock::now() >= abandon_at_;
    if (give_up) {
      abandon_at_ = Clock::time_point::max();
      device_->abandon();
    }
    const bool failed = needs_reset_.load(std::memory_order_acquire);
    value = static_cast<uint8_t>(status_.value() | (failed ? kStatusNeedsReset : 0));
  }
  if (give_up)
    LOG_LIMITED(LogLevel::kWarn, device_->name(),
                "{}: the driver's reset waits for the back end, which is given up",
                device_->name());
  return value;
}

StatusAction Frontend::write_status(uint8_t value) {
  StatusAction action;
  Result<void> activated;
  {
    const MutexLock lock(mutex_);
    // Nothing but the end of the reset comes after a reset that has begun.
    if (phase_ == Phase::kStopping) return StatusAction::kRefused;
    action = status_.write(value, features_acceptable());
    if (action == StatusAction::kActivate) activated = activate();
  }
  report(activated);
  if (action == StatusAction::kReset) {
    stop([] {});
    wait_until_inactive(Clock::now() + kQuickReset);
  }
  return action;
}

void Frontend::report(const Result<void>& activated) {
  if (activated) return;
  LOG_LIMITED(LogLevel::kWarn, device_->name(), "{}: cannot be activated: {}", device_->name(),
              activated.error().message());
  events_.device_failed();
}

void Frontend::stop(std::function<void()> stopped) {
  Phase before;
  {
    const MutexLock lock(mutex_);
    before = phase_;
    if (before == Phase::kInactive) {
      forget_driver();
    } else {
      when_stopped_.push_back(std::move(stopped));
      if (before == Phase::kActive) abandon_at_ = Clock::now() + reset_patience_;
      phase_ = Phase::kStopping;
    }
  }
  if (before == Phase::kInactive) stopped();
  if (before == Phase::kActive) device_->stop([this] { on_stopped(); });
}

void Frontend::abandon() {
  const MutexLock lock(mutex_);
  if (phase_ == Phase::kStopping) device_->abandon();
}

void Frontend::on_stopped() {
  std::vector<std::function<void()>> listeners;
  {
    const MutexLock lock(mutex_);
    phase_ = Phase::kInactive;
    forget_driver();
    listeners.swap(when_stopped_);
    // Under the lock: whoever waits may destroy the frontend as soon as it has it.
    inactive_.notify_all();
  }
  for (const auto& stopped : listeners) stopped();
}

bool Frontend::wait_until_inactive(Clock::time_point deadline) {
  const MutexLock lock(mutex_);
  while (phase_ != Phase::kInactive)
    if (inactive_.wait_until(mutex_, deadline) == std::cv_status::timeout) break;
  return phase_ == Phase::kInactive;
}

void Frontend::forget_driver() {
  status_.reset();
  driver_features_ = 0;
  for (QueueRegisters& queue : queues_) queue = QueueRegisters();
  positions_.clear();
  needs_reset_.store(false, std::memory_order_release);
  events_.was_reset();
}

Result<void> Frontend::activate() {
  DeviceResources resources = TRY(build_resources());
  TRY(device_->activate(std::move(resources)));
  phase_ = Phase::kActive;
  // The driver may have kicked after DRIVER_OK and before we listened.
  for (const EventFd& kick : kicks_) kick.signal();
  return {};
}

Result<DeviceResources> Frontend::build_resources() {
  DeviceResources resources{FeatureSet(driver_features_), {}, &events_};
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
    auto queue =
        Queue::create(config, memory_, positions_.empty() ? QueuePosition() : positions_[i]);
    if (!queue) return fail(ErrorKind::kInvalidConfig, "queue {}: {}", i, describe(queue.error()));
    resources.queues.emplace_back(QueueResources{*std::move(queue), &kicks_[i]});
  }
  return resources;
}

uint16_t Frontend::queue_max_size(uint32_t queue) const {
  return queue < kicks_.size() ? device_->queue_max_sizes()[queue] : uint16_t{0};
}

bool Frontend::queue_ready(uint32_t queue) const {
  const MutexLock lock(mutex_);
  return queue < queues_.size() && queues_[queue].ready;
}

Frontend::QueueRegisters* Frontend::writable_queue(uint32_t queue) {
  // After DRIVER_OK the queues are latched: later writes are refused by state.
  const bool writable =
      queue < queues_.size() && phase_ != Phase::kStopping && status_.accepts_queues();
  return writable ? &queues_[queue] : nullptr;
}

void Frontend::set_queue_size(uint32_t queue, uint32_t size) {
  const MutexLock lock(mutex_);
  QueueRegisters* const registers = writable_queue(queue);
  if (registers != nullptr && !registers->ready) registers->size = size;
}

void Frontend::set_queue_area(uint32_t queue, QueueArea area, bool high, uint32_t value) {
  const MutexLock lock(mutex_);
  QueueRegisters* const registers = writable_queue(queue);
  if (registers == nullptr || registers->ready) return;
  uint64_t& address = area == QueueArea::kDescriptors ? registers->descriptors
                      : area == QueueArea::kDriver    ? registers->driver
                                                      : registers->device;
  const unsigned shift = high ? 32 : 0;
  address = (address & ~(uint64_t{UINT32_MAX} << shift)) | uint64_t{value} << shift;
}

void Frontend::set_queue_ready(uint32_t queue, bool ready) {
  const MutexLock lock(mutex_);
  if (QueueRegisters* const registers = writable_queue(queue)) registers->ready = ready;
}

void Frontend::notify_queue(uint32_t queue) const {
  if (queue < kicks_.size()) kicks_[queue].signal();
}

void Frontend::read_config(uint64_t offset, std::span<uint8_t> data) const {
  const MutexLock lock(mutex_);
  device_->read_config(offset, data);
}

void Frontend::write_config(uint64_t offset, std::span<const uint8_t> data) {
  const MutexLock lock(mutex_);
  if (phase_ != Phase::kStopping) device_->write_config(offset, data);
}

}  // namespace hull::virtio
