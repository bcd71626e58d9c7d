// A thread with an event loop, on which network and entropy devices run their queues.
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
#include "base/result.h"
#include "base/thread.h"

namespace hull::virtio {

class WorkerThread {
 public:
  // Starts the thread; `name` is what ps shows (15 bytes are kept).
  static Result<std::unique_ptr<WorkerThread>> create(std::string_view name);
  // Stops the loop after the handler that runs, and joins. No device uses it any more.
  ~WorkerThread();
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  // Used on the thread itself alone: by handlers and by what post() and call() run.
  EventLoop& loop() { return loop_; }

  // Runs `task` on the thread, in order. Any thread.
  void post(std::function<void()> task);
  // The same, and waits until it is done. Any thread but this one.
  void call(const std::function<void()>& task);

 private:
  WorkerThread(EventLoop loop, EventFd wake) : loop_(std::move(loop)), wake_(std::move(wake)) {}
  void run_tasks();

  EventLoop loop_;
  EventFd wake_;
  Mutex mutex_;
  std::vector<std::function<void()>> tasks_ GUARDED_BY(mutex_);
  Thread thread_;
};

}  // namespace hull::virtio
