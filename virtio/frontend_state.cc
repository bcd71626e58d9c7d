// What the driver sees of a device, paused, handed out and taken back.
#include "virtio/frontend.h"

namespace hull::virtio {

namespace {

constexpr const char* kSection = "virtio";
constexpr uint32_t kVersion = 2;

}  // namespace

void Frontend::pause(std::function<void()> paused) {
  Phase phase;
  {
    const MutexLock lock(mutex_);
    phase = phase_;
    // A reset under way is what there is to wait for.
    if (phase == Phase::kStopping) when_stopped_.push_back(std::move(paused));
  }
  if (phase == Phase::kActive) device_->pause(std::move(paused));
  if (phase == Phase::kInactive) paused();
}

void Frontend::resume() {
  Result<void> activated;
  bool anew;
  {
    const MutexLock lock(mutex_);
    anew = phase_ == Phase::kInactive && !positions_.empty();
    if (anew) activated = activate();
    if (!anew && phase_ == Phase::kActive) device_->resume();
    positions_.clear();
  }
  report(activated);
  if (!anew || !activated) return;
  for (size_t queue = 0; queue < kicks_.size(); ++queue) events_.used_buffers(queue);
}

void Frontend::save(StateWriter& out) const {
  const MutexLock lock(mutex_);
  const bool active = phase_ == Phase::kActive || !positions_.empty();
  std::vector<std::optional<QueuePosition>> positions(queues_.size());
  if (phase_ == Phase::kActive) positions = device_->queue_positions();
  const StateWriter::Section section = out.section(kSection, kVersion);
  out.u32(static_cast<uint32_t>(device_->type()));
  out.u8(status_.value());
  out.boolean(needs_reset_.load(std::memory_order_acquire));
  out.boolean(active);
  out.u64(driver_features_);
  out.u32(config_generation());
  out.u32(static_cast<uint32_t>(queues_.size()));
  for (size_t i = 0; i < queues_.size(); ++i) {
    const QueueRegisters& queue = queues_[i];
    const QueuePosition kept = positions_.empty() ? QueuePosition() : positions_[i];
    const QueuePosition position = positions[i].value_or(kept);
    out.u32(queue.size);
    out.u64(queue.descriptors);
    out.u64(queue.driver);
    out.u64(queue.device);
    out.boolean(queue.ready);
    out.u16(position.next_available);
    out.u16(position.next_used);
  }
  const std::vector<uint8_t> held =
      phase_ == Phase::kActive ? device_->held() : std::vector<uint8_t>();
  out.u32(static_cast<uint32_t>(held.size()));
  out.bytes(held);
}

Result<Frontend::Saved> Frontend::read(StateReader& outer) const {
  StateReader in = TRY(outer.section(kSection, kVersion));
  Saved saved;
  if (in.u32() != static_cast<uint32_t>(device_->type()))
    in.reject("it is a device of another kind");
  saved.status = in.u8();
  saved.needs_reset = in.boolean();
  saved.active = in.boolean();
  saved.driver_features = in.u64();
  saved.config_generation = in.u32();
  if (in.u32() != kicks_.size()) in.reject("the device has another number of queues");
  for (size_t i = 0; i < kicks_.size(); ++i) {
    QueueRegisters queue;
    queue.size = in.u32();
    queue.descriptors = in.u64();
    queue.driver = in.u64();
    queue.device = in.u64();
    queue.ready = in.boolean();
    saved.queues.push_back(queue);
    QueuePosition position;
    position.next_available = in.u16();
    position.next_used = in.u16();
    saved.positions.push_back(position);
  }
  const std::span<const uint8_t> held = in.bytes(in.count(device_->max_held_bytes()));
  saved.held.assign(held.begin(), held.end());
  if (!StatusMachine().restore(saved.status)) in.reject("a status that no driver can reach");
  if (saved.active && (saved.status & kStatusDriverOk) == 0)
    in.reject("a device that is active before DRIVER_OK");
  TRY(in.end());
  // Checked last, because it is the host's affair and not the state's.
  if (!FeatureSet(saved.driver_features).is_subset_of(all_offered()) && saved.status > 3)
    return fail(ErrorKind::kUnsupported, "{}: the driver uses features that are not offered here",
                device_->name());
  return saved;
}

void Frontend::apply(const Saved& saved) {
  const MutexLock lock(mutex_);
  CHECK(phase_ == Phase::kInactive);
  CHECK(status_.restore(saved.status));
  driver_features_ = saved.driver_features;
  queues_ = saved.queues;
  positions_.clear();
  if (saved.active) {
    positions_ = saved.positions;
    device_->hold(saved.held);
  }
  needs_reset_.store(saved.needs_reset, std::memory_order_release);
  config_generation_.store(saved.config_generation);
}

}  // namespace hull::virtio
