#include "vmm/domain.h"

#include <sys/epoll.h>

#include <algorithm>

#include "base/log.h"
#include "vmm/build_machine.h"

namespace hull::vmm {

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
  TRY(domain->parts_->wait_for_helpers());
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
                                .virtio = parts_->virtio(),
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
  if (state_ == DomainState::kPreserved) {
    enter(DomainState::kEnding);
    return begin_drain();
  }
  drain_deadline_ = std::min(drain_deadline_, std::chrono::steady_clock::now() + kHurriedDrainTime);
  if (outcome_ != nullptr) outcome_->record(*ordered_);
}

Result<void> Domain::close() {
  drop_machine();
  return parts_->close(ordered_ ? kHurriedDeviceTime : kDeviceTime);
}

}  // namespace hull::vmm
