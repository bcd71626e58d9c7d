#include "tools/hull/warden.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "devices/console/terminal_guard.h"
#include "tools/hull/exit_code.h"
#include "tools/hull/no_memory.h"

namespace hull::cli {

namespace {

constexpr std::array kWatched = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGXCPU};

// nohup(1), and shells without job control for what they start in the background, mean it.
bool is_ignored(int signal) {
  struct sigaction action{};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

sigset_t signals_to_watch() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kWatched)
    if (signal == SIGTERM || !is_ignored(signal)) sigaddset(&set, signal);
  return set;
}

std::atomic<Warden*> g_on_duty{nullptr};

}  // namespace

// On any thread; allocates nothing.
void Warden::hear_lack_of_memory() {
  Warden* const warden = g_on_duty.load();
  if (warden == nullptr) ::_exit(kExitHost);
  warden->lacks_memory_ = true;
  warden->wake_.signal();
}

Result<std::unique_ptr<Warden>> Warden::start(const Limits& limits) {
  Signals signals{.watched = signals_to_watch(), .mask_before = {}};
  pthread_sigmask(SIG_BLOCK, &signals.watched, &signals.mask_before);
  UniqueFd fd(::signalfd(-1, &signals.watched, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return std::unexpected(Error::from_errno("signalfd"));
  EventFd wake = TRY(EventFd::create());
  EventFd ordered = TRY(EventFd::create());
  std::unique_ptr<Warden> warden(
      new Warden(limits, signals, std::move(fd), std::move(wake), std::move(ordered)));
  if (limits.timeout) {
    const MutexLock lock(warden->mutex_);
    warden->timeout_at_ = limits.entry + *limits.timeout;
  }
  Warden* const self = warden.get();
  warden->thread_ = TRY(start_thread(ThreadKind::kControl, "warden", [self] { self->watch(); }));
  g_on_duty = self;
  end_when_out_of_memory(kExitHost, hear_lack_of_memory);
  return warden;
}

Warden::~Warden() {
  g_on_duty = nullptr;
  {
    const MutexLock lock(mutex_);
    dismissed_ = true;
  }
  wake_.signal();
  thread_.join();
  const timespec now{};
  while (::sigtimedwait(&signals_.watched, nullptr, &now) > 0) {
  }
  if (limits_.process_goes_on) pthread_sigmask(SIG_SETMASK, &signals_.mask_before, nullptr);
}

std::optional<vmm::EndReason> Warden::order() const {
  const MutexLock lock(mutex_);
  return order_;
}

void Warden::set_name(std::string name) {
  const MutexLock lock(mutex_);
  name_ = std::move(name);
}

void Warden::set_last_duty(std::function<void()> duty) {
  const MutexLock lock(duty_mutex_);
  last_duty_ = std::move(duty);
}

void Warden::set_reporter(Reporter reporter) {
  const MutexLock lock(duty_mutex_);
  reporter_ = std::move(reporter);
}

void Warden::settle() {
  const MutexLock lock(mutex_);
  leave_at_.reset();
  last_wish_.reset();
}

Result<void> Warden::attach(EventLoop& loop, vmm::Domain& domain) {
  TRY(loop.add(ordered_.fd(), EPOLLIN, [this](uint32_t) { pass_on_orders(); }));
  loop_ = &loop;
  domain_ = &domain;
  const MutexLock lock(mutex_);
  phase_ = Phase::kRunning;
  return {};
}

void Warden::detach() {
  if (loop_ != nullptr) loop_->remove(ordered_.fd());
  loop_ = nullptr;
  domain_ = nullptr;
  const MutexLock lock(mutex_);
  phase_ = Phase::kTearDown;
}

void Warden::wish_for_end() {
  {
    const MutexLock lock(mutex_);
    hear_wish();
  }
  wake_.signal();
}

void Warden::watch() {
  for (;;) {
    std::array<pollfd, 2> entries = {{{.fd = signal_fd_.get(), .events = POLLIN, .revents = 0},
                                      {.fd = wake_.fd(), .events = POLLIN, .revents = 0}}};
    ::poll(entries.data(), entries.size(), milliseconds_to_deadline());
    wake_.consume();
    if (lacks_memory_) leave();
    {
      const MutexLock lock(mutex_);
      if (dismissed_) return;
    }
    read_signals();
    look_at_clock();
  }
}

void Warden::read_signals() {
  signalfd_siginfo info;
  while (::read(signal_fd_.get(), &info, sizeof info) == sizeof info) {
    const MutexLock lock(mutex_);
    hear_wish();
  }
}

void Warden::hear_wish() {
  const Clock::time_point now = Clock::now();
  if (last_wish_ && now - *last_wish_ < kOneWish) return;
  last_wish_ = now;
  if (phase_ == Phase::kStarting)
    return give_order({.kind = vmm::EndKind::kForced, .detail = "the start was called off"});
  if (phase_ == Phase::kTearDown || button_pressed_)
    return give_order({.kind = vmm::EndKind::kForced, .detail = "switched off on request"});
  button_pressed_ = true;
  grace_over_ = now + limits_.grace;
  ordered_.signal();
}

void Warden::look_at_clock() {
  const Clock::time_point now = Clock::now();
  bool at_last = false;
  {
    const MutexLock lock(mutex_);
    if (timeout_at_ && now >= *timeout_at_) {
      timeout_at_.reset();
      give_order({.kind = vmm::EndKind::kTimeout,
                  .detail = fmt::format("time-out: switched off after {} s (--timeout)",
                                        limits_.timeout->count())});
    }
    if (grace_over_ && now >= *grace_over_) {
      grace_over_.reset();
      give_order({.kind = vmm::EndKind::kForced,
                  .detail = fmt::format("the guest did not switch itself off within {} seconds",
                                        limits_.grace.count())});
    }
    at_last = leave_at_ && now >= *leave_at_;
  }
  if (at_last) leave();
}

void Warden::give_order(vmm::EndReason reason) {
  if (!order_) order_ = std::move(reason);
  if (!leave_at_) leave_at_ = Clock::now() + kPatience;
  start_.request_stop();
  ordered_.signal();
}

// The main thread.
void Warden::pass_on_orders() {
  ordered_.consume();
  bool button = false;
  std::optional<vmm::EndReason> end;
  {
    const MutexLock lock(mutex_);
    button = button_pressed_;
    end = order_;
  }
  if (end) return domain_->end(*std::move(end));
  if (!button) return;
  if (button_listener_) button_listener_();
  domain_->power_button();
}

int Warden::milliseconds_to_deadline() const {
  const MutexLock lock(mutex_);
  std::optional<Clock::time_point> first;
  for (const auto& deadline : {timeout_at_, grace_over_, leave_at_})
    if (deadline && (!first || *deadline < *first)) first = deadline;
  if (!first) return -1;
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(*first - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(wait, 0, 1'000'000));
}

void Warden::leave() {
  devices::TerminalGuard::restore();
  {
    const MutexLock lock(duty_mutex_);
    if (last_duty_) last_duty_();
    last_duty_ = nullptr;
  }
  vmm::EndReason reason;
  std::string name;
  {
    const MutexLock lock(mutex_);
    reason = order_.value_or(
        vmm::EndReason{.kind = vmm::EndKind::kHostError, .detail = "out of memory"});
    name = name_;
  }
  log_line(LogLevel::kError,
           fmt::format("{}: {}; what it was busy with was left as it was", name, reason.detail));
  {
    const MutexLock lock(duty_mutex_);
    if (reporter_) reporter_(name, reason);
  }
  flush_log();
  _exit(exit_code_of(reason));
}

}  // namespace hull::cli
