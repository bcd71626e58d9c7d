// An epoll loop for the threads that wait for several things and are not on the block path: the
// main thread (console, timers, the ends of domains) and the workers of networks and entropy. One
// thread runs it; stop() and nothing else may be called from others.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "base/event_fd.h"
#include "base/result.h"

namespace hull {

class EventLoop {
 public:
  // `events` is EPOLLIN, EPOLLOUT, EPOLLHUP … as epoll_wait reported them.
  using Handler = std::function<void(uint32_t events)>;

  static Result<EventLoop> create();

  // `fd` is borrowed until remove(fd). Level-triggered; a handler may add and remove any
  // descriptor.
  Result<void> add(int fd, uint32_t events, Handler handler);
  Result<void> modify(int fd, uint32_t events);
  void remove(int fd);

  // One-shot timers, called from the loop; a timer may start others. Returns an id for cancel().
  uint64_t call_after(std::chrono::milliseconds delay, std::function<void()> handler);
  void cancel(uint64_t timer);

  // Until stop(): the round in which it is called is finished, what is ready after it waits for the
  // next run().
  Result<void> run();
  // Any thread, any number of times, also before run().
  void stop() const;

  // For a thread that has another event core (base/reactor.h): instead of run(), turn() handles
  // what is ready and waits for nothing. To be called after fd() became readable, and once to begin
  // with; true if it is to be called again soon, because others are to have their turn first.
  int fd() const { return epoll_.get(); }
  Result<bool> turn();

 private:
  struct Watch {
    uint32_t generation;               // tells a new user of a descriptor number from the old one
    std::shared_ptr<Handler> handler;  // shared: one that removes itself lives until it returns
  };
  struct Timer {
    uint64_t id;
    std::function<void()> handler;
  };
  using Clock = std::chrono::steady_clock;

  EventLoop(UniqueFd epoll, EventFd stop) : epoll_(std::move(epoll)), stop_(std::move(stop)) {}
  Result<void> control(int operation, int fd, uint32_t events, uint32_t generation) const;
  void dispatch(uint64_t key, uint32_t events);
  int milliseconds_to_next_timer() const;
  void run_due_timers();
  Result<void> make_timer_descriptor();
  void arm_timer_descriptor() const;

  UniqueFd epoll_;
  EventFd stop_;
  UniqueFd timer_descriptor_;  // of turn(): readable when a timer is due
  std::map<int, Watch> watches_;
  uint32_t next_generation_ = 1;
  std::multimap<Clock::time_point, Timer> timers_;
  uint64_t next_timer_ = 1;
};

}  // namespace hull
