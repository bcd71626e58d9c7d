// A domain that is paused and goes on, also in another process: pause(), resume(), save(),
// restore().
#include "base/log.h"
#include "vmm/domain.h"

namespace hull::vmm {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kPausePoll{2};

}  // namespace

Result<void> Domain::pause(PauseDone done) {
  if (state_ == DomainState::kPaused) {
    if (done) done({});
    return {};
  }
  if (state_ != DomainState::kRunning)
    return fail(ErrorKind::kUnsupported, "{}: cannot be paused: it is {}", config_.name,
                to_string(state_));
  if (done) pause_done_.push_back(std::move(done));
  if (!pausing_) begin_pause();
  return {};
}

void Domain::begin_pause() {
  pausing_ = true;
  pause_deadline_ = Clock::now() + options_.pause_patience;
  machine_->order(VcpuOrder::kPause);
  timer_ = loop_.call_after(kPausePoll, [this] { look_at_pause(); });
}

// The vCPUs' acknowledgement calls this at once; the rest is asked for.
void Domain::look_at_pause() {
  loop_.cancel(std::exchange(timer_, 0));
  const bool ordered_to_end = state_ == DomainState::kEnding && ordered_;
  const bool vcpus_paused = machine_->orders().obeyed();
  if (vcpus_paused && (ordered_to_end || machine_->pause_devices(kPausePoll))) return on_paused();
  if (Clock::now() >= pause_deadline_) return give_up_pause(vcpus_paused);
  timer_ = loop_.call_after(kPausePoll, [this] { look_at_pause(); });
}

void Domain::on_paused() {
  pausing_ = false;
  if (state_ == DomainState::kEnding) return drain_console();
  enter(DomainState::kPaused);
  answer_pause({});
}

void Domain::give_up_pause(bool vcpus_paused) {
  pausing_ = false;
  const std::string who = vcpus_paused ? machine_->busy_devices() : "a vCPU";
  if (state_ == DomainState::kEnding) {
    LOG_WARN("{}: {} does not answer: the machine is kept with requests in flight", config_.name,
             who);
    return drain_console();
  }
  if (vcpus_paused) machine_->prepare_to_go_on();
  machine_->order(VcpuOrder::kRun);
  answer_pause(fail(ErrorKind::kTimeout,
                    "{}: cannot be paused: {} has not answered within {} ms; the guest runs on",
                    config_.name, who, options_.pause_patience.count()));
}

// Whoever is answered may give the next order.
void Domain::answer_pause(const Result<void>& result) {
  for (const PauseDone& done : std::exchange(pause_done_, {})) done(result);
}

Result<void> Domain::resume() {
  if (state_ != DomainState::kPaused)
    return fail(ErrorKind::kUnsupported, "{}: cannot be resumed: it is {}", config_.name,
                to_string(state_));
  machine_->prepare_to_go_on();
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

}  // namespace hull::vmm
