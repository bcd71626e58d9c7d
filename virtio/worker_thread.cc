#include "virtio/worker_thread.h"

#include <sys/epoll.h>

#include <semaphore>

#include "base/check.h"
#include "base/log.h"

namespace hull::virtio {

Result<std::unique_ptr<WorkerThread>> WorkerThread::create(std::string_view name) {
  EventLoop loop = TRY(EventLoop::create());
  std::unique_ptr<WorkerThread> worker(new WorkerThread(std::move(loop), TRY(EventFd::create())));
  WorkerThread* const self = worker.get();
  if (auto added =
          worker->loop_.add(worker->wake_.fd(), EPOLLIN, [self](uint32_t) { self->run_tasks(); });
      !added)
    return std::unexpected(std::move(added).error());
  worker->thread_ = TRY(start_thread(ThreadKind::kWorker, name, [self] {
    if (auto ran = self->loop_.run(); !ran) LOG_ERROR("worker: {}", ran.error().message());
  }));
  return worker;
}

WorkerThread::~WorkerThread() {
  loop_.stop();
  thread_.join();
}

void WorkerThread::post(std::function<void()> task) {
  {
    const MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.signal();
}

void WorkerThread::call(const std::function<void()>& task) {
  CHECK(!thread_.is_current());
  std::binary_semaphore done(0);
  post([&] {
    task();
    done.release();
  });
  done.acquire();
}

void WorkerThread::run_tasks() {
  wake_.consume();
  std::vector<std::function<void()>> tasks;
  {
    const MutexLock lock(mutex_);
    tasks.swap(tasks_);
  }
  for (const auto& task : tasks) task();
}

}  // namespace hull::virtio
