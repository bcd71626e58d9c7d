// A thread with an event loop, on which network and entropy devices run their queues: one of its
// own, or one that somebody else has, such as the images'.
//
// It exists before the guest does; devices hand it work when the driver activates them. Several
// devices may share one.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/event_fd.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "base/reactor.h"
#include "base/result.h"
#include "base/thread.h"

namespace hull::virtio {

class WorkerThread {
 public:
  // Starts the thread; `name` is what ps shows (15 bytes are kept).
  static Result<std::unique_ptr<WorkerThread>> create(std::string_view name);
  // Runs as a guest on the thread of `host`, which outlives the worker and what it was given to do.
  static Result<std::unique_ptr<WorkerThread>> create_on(Reactor& host);
  // Stops the loop after the handler that runs, and joins a thread of its own. No device uses it
  // any more.
  ~WorkerThread();
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  // Used on the thread itself alone: by handlers and by what post() and call() run.
  EventLoop& loop() { return core_->loop; }

  // Runs `task` on the thread, in order. Any thread.
  void post(std::function<void()> task) { core_->post(std::move(task)); }
  // The same, and waits until it is done. Any thread but this one.
  void call(const std::function<void()>& task);

 private:
  // Shared with a host, which may come to it after the worker has gone.
  struct Core {
    Core(EventLoop event_loop, EventFd wake_event)
        : loop(std::move(event_loop)), wake(std::move(wake_event)) {}
    void post(std::function<void()> task);
    void run_tasks();
    void turn();

    EventLoop loop;
    const EventFd wake;
    Mutex mutex;
    std::vector<std::function<void()>> tasks GUARDED_BY(mutex);
  };
  explicit WorkerThread(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  static Result<std::unique_ptr<WorkerThread>> make();

  std::shared_ptr<Core> core_;
  Reactor* host_ = nullptr;
  Thread thread_;
};

}  // namespace hull::virtio
