// How a run of a domain ends: the vCPUs leave the guest, the console takes the last bytes, the
// devices stop or are kept, paused; then the machine goes, or a new one takes its place.
#include <algorithm>

#include "base/log.h"
#include "vmm/domain.h"

namespace hull::vmm {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kDrainPoll{2};

// libvirt's on_poweroff, on_reboot and on_crash. What the host did is final.
config::LifecycleAction configured_action(EndKind kind, const config::DomainConfig& config) {
  switch (kind) {
    case EndKind::kPowerOff: return config.on_poweroff;
    case EndKind::kReset: return config.on_reboot;
    case EndKind::kPanic:
    case EndKind::kGuestCrash: return config.on_crash;
    case EndKind::kDebugExit:
    case EndKind::kForced:
    case EndKind::kTimeout:
    case EndKind::kHostError: break;
  }
  return config::LifecycleAction::kDestroy;
}

}  // namespace

// The guest's run is over, whoever ended it. The vCPUs are on their way out of the guest, or
// paused.
void Domain::on_outcome() {
  loop_.remove(outcome_->event_fd());
  loop_.cancel(std::exchange(timer_, 0));
  pausing_ = false;
  reason_ = outcome_->reason();
  drain_deadline_ = Clock::now() + (ordered_ ? kHurriedDrainTime : kDrainTime);
  if (next_action() == config::LifecycleAction::kPreserve)
    begin_pause();
  else
    machine_->order(VcpuOrder::kEnd);
  enter(DomainState::kEnding);
  answer_pause(
      fail(ErrorKind::kUnsupported, "{}: cannot be paused: its run has ended", config_.name));
}

void Domain::on_orders_obeyed() {
  machine_->orders().obeyed_event().consume();
  if (!machine_->orders().obeyed()) return;  // there is a newer order
  if (pausing_) return look_at_pause();
  if (state_ == DomainState::kEnding) drain_console();
}

void Domain::drain_console() {
  loop_.cancel(std::exchange(timer_, 0));
  if (!parts_->console().drained() && Clock::now() < drain_deadline_) {
    timer_ = loop_.call_after(kDrainPoll, [this] { drain_console(); });
    return;
  }
  parts_->console().give_up_rest();
  if (next_action() == config::LifecycleAction::kPreserve) return enter(DomainState::kPreserved);
  begin_drain();
}

void Domain::begin_drain() {
  drain_deadline_ = Clock::now() + (ordered_ ? kHurriedDeviceTime : kDeviceTime);
  devices_abandoned_ = false;
  drain_devices();
}

// Not a moment longer than the devices need, and yet the loop serves others meanwhile.
void Domain::drain_devices() {
  timer_ = 0;
  if (machine_->drain_devices(kDrainPoll)) return on_drained();
  if (Clock::now() >= drain_deadline_) {
    if (devices_abandoned_) return on_drained();
    devices_abandoned_ = true;
    machine_->abandon_devices();
    drain_deadline_ = Clock::now() + kHurriedDeviceTime;
  }
  timer_ = loop_.call_after(kDrainPoll, [this] { drain_devices(); });
}

void Domain::on_drained() {
  if (next_action() == config::LifecycleAction::kRestart) return restart();
  finish();
}

void Domain::restart() {
  if (!reason_.detail.empty())
    LOG_LIMITED(LogLevel::kWarn, config_.name, "{}: restarted after: {}", config_.name,
                reason_.detail);
  if (!drop_machine()) return enter(DomainState::kEnded);
  enter(DomainState::kBuilding);
  Result<void> started = build();
  if (started) started = start();
  if (started) return;
  reason_ = {.kind = EndKind::kHostError, .detail = started.error().message()};
  finish();
}

void Domain::finish() {
  // A reset in the same moment must not outrun the order to stop.
  if (ordered_ && configured_action(reason_.kind, config_) == config::LifecycleAction::kRestart)
    reason_ = *ordered_;
  drop_machine();
  enter(DomainState::kEnded);
}

// A guest that answers the power button with a reset would otherwise run for ever.
config::LifecycleAction Domain::next_action() const {
  if (ordered_ || power_button_pressed_) return config::LifecycleAction::kDestroy;
  return configured_action(reason_.kind, config_);
}

}  // namespace hull::vmm
