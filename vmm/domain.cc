#include "vmm/domain.h"

#include <sys/epoll.h>

#include <algorithm>

#include "base/log.h"
#include "vmm/build_machine.h"

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

std::string_view to_string(DomainState state) {
  switch (state) {
    case DomainState::kBuilding: return "building";
    case DomainState::kRunning: return "running";
    case DomainState::kPaused: return "paused";
    case DomainState::kEnding: return "ending";
    case DomainState::kPreserved: return "preserved";
    case DomainState::kEnded: return "ended";
  }
  return "";
}

Result<std::unique_ptr<Domain>> Domain::create(EventLoop& loop, const config::DomainConfig& config,
                                               DomainOptions options) {
  std::unique_ptr<Domain> domain(new Domain(loop, config, std::move(options)));
  Domain* const self = domain.get();
  domain->parts_ = TRY(HostParts::open(loop, config, domain->options_, [self] {
    if (self->escape_handler_) self->escape_handler_();
  }));
  TRY(domain->build());
  return domain;
}

Domain::~Domain() { drop_machine(); }

Result<void> Domain::build() {
  outcome_ = TRY(Outcome::create());
  machine_ = TRY(build_machine({.kvm = parts_->kvm(),
                                .domain = config_,
                                .boot = parts_->boot(),
                                .outcome = *outcome_,
                                .loop = loop_,
                                .disks = parts_->disks(),
                                .networks = parts_->networks(),
                                .engine = parts_->engine(),
                                .workers = parts_->workers(),
                                .debug_exit_port = options_.debug_exit_port},
                               options_.return_device_tree ? &device_tree_ : nullptr));
  return {};
}

Result<void> Domain::watch_machine() {
  TRY(parts_->console().attach(machine_->serial()));
  watched_ = true;
  TRY(loop_.add(outcome_->event_fd(), EPOLLIN, [this](uint32_t) { on_outcome(); }));
  return loop_.add(machine_->orders().obeyed_event().fd(), EPOLLIN,
                   [this](uint32_t) { on_orders_obeyed(); });
}

bool Domain::drop_machine() {
  loop_.cancel(std::exchange(timer_, 0));
  if (machine_ == nullptr) return true;
  if (std::exchange(watched_, false)) {
    loop_.remove(outcome_->event_fd());
    loop_.remove(machine_->orders().obeyed_event().fd());
    parts_->console().detach();
  }
  // What has stopped already costs no time here.
  if (!machine_->drain_devices(kHurriedDeviceTime)) {
    machine_->abandon_devices();
    if (!machine_->drain_devices(kHurriedDeviceTime)) {
      give_up_machine();
      return false;
    }
  }
  machine_.reset();
  return true;
}

// The kernel, or a thread that waits for it, may still write to the guest's memory: nothing of what
// it may use is destroyed.
void Domain::give_up_machine() {
  constexpr const char* kWhy = "a disk does not answer: it is left as after a crash";
  LOG_ERROR("{}: {}", config_.name, kWhy);
  if (!ordered_) reason_ = {.kind = EndKind::kHostError, .detail = kWhy};
  [[maybe_unused]] auto* const leaked = machine_.release();
  parts_->leak_disks();
}

void Domain::enter(DomainState state) {
  state_ = state;
  if (listener_) listener_(state);
}

Result<void> Domain::start() {
  CHECK(state_ == DomainState::kBuilding && machine_ != nullptr);
  TRY(watch_machine());
  TRY(machine_->start());
  machine_->order(VcpuOrder::kRun);
  enter(DomainState::kRunning);
  return {};
}

Result<std::vector<uint8_t>> Domain::save() {
  if (state_ != DomainState::kPaused)
    return fail(ErrorKind::kUnsupported, "{}: cannot be saved: it is {}", config_.name,
                to_string(state_));
  StateWriter out;
  TRY(machine_->save(out));
  return std::move(out).finish();
}

Result<void> Domain::restore(std::span<const uint8_t> saved) {
  CHECK(state_ == DomainState::kBuilding && machine_ != nullptr);
  StateReader in(saved);
  TRY(machine_->load(in).with_context(fmt::format("{}: restore", config_.name)));
  TRY(watch_machine());
  TRY(machine_->start());
  enter(DomainState::kPaused);
  return {};
}

Result<void> Domain::pause() {
  if (state_ == DomainState::kPaused) return {};
  if (state_ != DomainState::kRunning)
    return fail(ErrorKind::kUnsupported, "{}: cannot be paused: it is {}", config_.name,
                to_string(state_));
  if (machine_->orders().order() != VcpuOrder::kPause) machine_->order(VcpuOrder::kPause);
  return {};
}

Result<void> Domain::resume() {
  if (state_ != DomainState::kPaused)
    return fail(ErrorKind::kUnsupported, "{}: cannot be resumed: it is {}", config_.name,
                to_string(state_));
  machine_->resume_devices();
  machine_->order(VcpuOrder::kRun);
  enter(DomainState::kRunning);
  return {};
}

void Domain::power_button() {
  if (state_ != DomainState::kRunning)
    return end({.kind = EndKind::kForced, .detail = "switched off on request"});
  power_button_pressed_ = true;
  machine_->power().press_power_button();
}

void Domain::reset() {
  if (outcome_ != nullptr) outcome_->reset();
}

void Domain::end(EndReason reason) {
  if (!ordered_) ordered_ = std::move(reason);
  if (state_ == DomainState::kPreserved) return finish();
  drain_deadline_ = std::min(drain_deadline_, Clock::now() + kHurriedDrainTime);
  if (outcome_ != nullptr) outcome_->record(*ordered_);
}

// The guest's run is over, whoever ended it. The vCPUs are on their way out of the guest, or
// paused.
void Domain::on_outcome() {
  loop_.remove(outcome_->event_fd());
  loop_.cancel(std::exchange(timer_, 0));
  reason_ = outcome_->reason();
  drain_deadline_ = Clock::now() + (ordered_ ? kHurriedDrainTime : kDrainTime);
  machine_->order(next_action() == config::LifecycleAction::kPreserve ? VcpuOrder::kPause
                                                                      : VcpuOrder::kEnd);
  enter(DomainState::kEnding);
}

void Domain::on_orders_obeyed() {
  machine_->orders().obeyed_event().consume();
  if (!machine_->orders().obeyed()) return;  // there is a newer order
  if (state_ == DomainState::kEnding) return drain_console();
  if (state_ == DomainState::kRunning && machine_->orders().order() == VcpuOrder::kPause)
    pause_devices();
}

void Domain::pause_devices() {
  timer_ = 0;
  if (machine_->pause_devices(kDrainPoll)) return enter(DomainState::kPaused);
  timer_ = loop_.call_after(kDrainPoll, [this] { pause_devices(); });
}

void Domain::drain_console() {
  timer_ = 0;
  if (!parts_->console().drained() && Clock::now() < drain_deadline_) {
    timer_ = loop_.call_after(kDrainPoll, [this] { drain_console(); });
    return;
  }
  parts_->console().give_up_rest();
  if (next_action() == config::LifecycleAction::kPreserve) return enter(DomainState::kPreserved);
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

Result<void> Domain::close() {
  drop_machine();
  return parts_->close(ordered_ ? kHurriedDeviceTime : kDeviceTime);
}

}  // namespace hull::vmm
