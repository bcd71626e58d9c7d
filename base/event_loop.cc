#include "base/event_loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

namespace hull {

namespace {

constexpr uint32_t kStopGeneration = 0;
constexpr unsigned kMaxRoundsOfATurn = 4;

// What epoll hands back: which descriptor, and which of its users.
uint64_t key_of(int fd, uint32_t generation) {
  return uint64_t{generation} << 32 | static_cast<uint32_t>(fd);
}

}  // namespace

Result<EventLoop> EventLoop::create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return std::unexpected(Error::from_errno("epoll_create1"));
  EventLoop loop(std::move(epoll), TRY(EventFd::create()));
  TRY(loop.control(EPOLL_CTL_ADD, loop.stop_.fd(), EPOLLIN, kStopGeneration));
  return loop;
}

Result<void> EventLoop::control(int operation, int fd, uint32_t events, uint32_t generation) const {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key_of(fd, generation);
  if (::epoll_ctl(epoll_.get(), operation, fd, &event) < 0)
    return std::unexpected(Error::from_errno("epoll_ctl"));
  return {};
}

Result<void> EventLoop::add(int fd, uint32_t events, Handler handler) {
  const uint32_t generation = next_generation_;
  TRY(control(EPOLL_CTL_ADD, fd, events, generation));
  if (++next_generation_ == kStopGeneration) ++next_generation_;
  watches_[fd] = {generation, std::make_shared<Handler>(std::move(handler))};
  return {};
}

Result<void> EventLoop::modify(int fd, uint32_t events) {
  const auto found = watches_.find(fd);
  if (found == watches_.end())
    return fail(ErrorKind::kInternal, "descriptor {} is not watched", fd);
  return control(EPOLL_CTL_MOD, fd, events, found->second.generation);
}

void EventLoop::remove(int fd) {
  if (watches_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

uint64_t EventLoop::call_after(std::chrono::milliseconds delay, std::function<void()> handler) {
  const uint64_t id = next_timer_++;
  timers_.emplace(Clock::now() + delay, Timer{id, std::move(handler)});
  return id;
}

void EventLoop::cancel(uint64_t timer) {
  const auto found = std::find_if(timers_.begin(), timers_.end(),
                                  [timer](const auto& entry) { return entry.second.id == timer; });
  if (found != timers_.end()) timers_.erase(found);
}

Result<void> EventLoop::run() {
  std::array<epoll_event, 16> events;
  for (;;) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                   milliseconds_to_next_timer());
    if (count < 0 && errno != EINTR) return std::unexpected(Error::from_errno("epoll_wait"));
    const std::span ready(events.data(), static_cast<size_t>(std::max(count, 0)));
    // Before the handlers: after the round in which stop() was called nothing more runs.
    if (std::ranges::any_of(ready, [this](const epoll_event& event) {
          return event.data.u64 == key_of(stop_.fd(), kStopGeneration);
        })) {
      stop_.consume();
      return {};
    }
    for (const epoll_event& event : ready) dispatch(event.data.u64, event.events);
    run_due_timers();
  }
}

Result<bool> EventLoop::turn() {
  if (!timer_descriptor_.valid()) TRY(make_timer_descriptor());
  std::array<epoll_event, 16> events;
  int count = 1;
  for (unsigned round = 0; count > 0 && round < kMaxRoundsOfATurn; ++round) {
    count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    if (count < 0 && errno != EINTR) return std::unexpected(Error::from_errno("epoll_wait"));
    for (const epoll_event& event :
         std::span(events).first(static_cast<size_t>(std::max(count, 0))))
      dispatch(event.data.u64, event.events);
    run_due_timers();
  }
  arm_timer_descriptor();
  return count > 0;
}

Result<void> EventLoop::make_timer_descriptor() {
  timer_descriptor_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer_descriptor_.valid()) return std::unexpected(Error::from_errno("timerfd_create"));
  // The round that it wakes runs the timers.
  return add(timer_descriptor_.get(), EPOLLIN, [fd = timer_descriptor_.get()](uint32_t) {
    uint64_t expirations;
    [[maybe_unused]] const ssize_t got = ::read(fd, &expirations, sizeof expirations);
  });
}

void EventLoop::arm_timer_descriptor() const {
  itimerspec when{};
  if (!timers_.empty()) {
    // Never 0, which would disarm it.
    const auto wait = std::max<std::chrono::nanoseconds>(timers_.begin()->first - Clock::now(),
                                                         std::chrono::nanoseconds(1));
    when.it_value.tv_sec = static_cast<time_t>(wait.count() / 1'000'000'000);
    when.it_value.tv_nsec = static_cast<long>(wait.count() % 1'000'000'000);
  }
  ::timerfd_settime(timer_descriptor_.get(), 0, &when, nullptr);
}

// An earlier handler of this round may have removed the watch, and may have added another one for
// the same number.
void EventLoop::dispatch(uint64_t key, uint32_t events) {
  const auto found = watches_.find(static_cast<int>(key & UINT32_MAX));
  if (found == watches_.end() || found->second.generation != key >> 32) return;
  const std::shared_ptr<Handler> handler = found->second.handler;
  (*handler)(events);
}

void EventLoop::stop() const { stop_.signal(); }

int EventLoop::milliseconds_to_next_timer() const {
  if (timers_.empty()) return -1;
  const auto wait =
      std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(wait, 0, 1'000'000));
}

void EventLoop::run_due_timers() {
  const auto now = Clock::now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    const Timer timer = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    timer.handler();
  }
}

}  // namespace hull
