#include "base/event_loop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace hull {

Result<EventLoop> EventLoop::create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return std::unexpected(Error::from_errno("epoll_create1"));
  EventLoop loop(std::move(epoll), TRY(EventFd::create()));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = loop.stop_.fd();
  if (::epoll_ctl(loop.epoll_.get(), EPOLL_CTL_ADD, loop.stop_.fd(), &event) < 0)
    return std::unexpected(Error::from_errno("epoll_ctl"));
  return loop;
}

Result<void> EventLoop::add(int fd, uint32_t events, Handler handler) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0)
    return std::unexpected(Error::from_errno("epoll_ctl add"));
  handlers_[fd] = std::make_shared<Handler>(std::move(handler));
  return {};
}

Result<void> EventLoop::modify(int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) < 0)
    return std::unexpected(Error::from_errno("epoll_ctl modify"));
  return {};
}

void EventLoop::remove(int fd) {
  if (handlers_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
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
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<size_t>(i)].data.fd;
      if (fd == stop_.fd()) {
        stop_.consume();
        return {};
      }
      // An earlier handler of this round may have removed it.
      const auto found = handlers_.find(fd);
      if (found == handlers_.end()) continue;
      const std::shared_ptr<Handler> handler = found->second;
      (*handler)(events[static_cast<size_t>(i)].events);
    }
    run_due_timers();
  }
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
