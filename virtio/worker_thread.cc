#include "virtio/worker_thread.h"

#include <sys/epoll.h>

#include <semaphore>

#include "base/check.h"
#include "base/log.h"

namespace hull::virtio {

Result<std::unique_ptr<WorkerThread>> WorkerThread::make() {
  EventLoop loop = TRY(EventLoop::create());
  const auto core = std::make_shared<Core>(std::move(loop), TRY(EventFd::create()));
  TRY(core->loop.add(core->wake.fd(), EPOLLIN,
                     [self = core.get()](uint32_t) { self->run_tasks(); }));
  return std::unique_ptr<WorkerThread>(new WorkerThread(core));
}

Result<std::unique_ptr<WorkerThread>> WorkerThread::create(std::string_view name) {
  auto worker = TRY(make());
  worker->thread_ = TRY(start_thread(ThreadKind::kWorker, name, [core = worker->core_] {
    if (auto ran = core->loop.run(); !ran) LOG_ERROR("worker: {}", ran.error().message());
  }));
  return worker;
}

Result<std::unique_ptr<WorkerThread>> WorkerThread::create_on(Reactor& host) {
  auto worker = TRY(make());
  worker->host_ = &host;
  host.post([&host, core = worker->core_] {
    const auto watched = host.watch(core->loop.fd(), [core] { core->turn(); });
    if (!watched) return LOG_ERROR("worker: {}", watched.error().message());
    core->turn();
  });
  return worker;
}

WorkerThread::~WorkerThread() {
  if (host_ != nullptr) {
    host_->post([host = host_, core = core_] { host->unwatch(core->loop.fd()); });
    return;
  }
  core_->loop.stop();
  thread_.join();
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

void WorkerThread::Core::post(std::function<void()> task) {
  {
    const MutexLock lock(mutex);
    tasks.push_back(std::move(task));
  }
  wake.signal();
}

void WorkerThread::Core::run_tasks() {
  wake.consume();
  std::vector<std::function<void()>> due;
  {
    const MutexLock lock(mutex);
    due.swap(tasks);
  }
  for (const auto& task : due) task();
}

void WorkerThread::Core::turn() {
  const auto more = loop.turn();
  if (!more) return LOG_ERROR("worker: {}", more.error().message());
  // The host comes back to it after its other work.
  if (*more) wake.signal();
}

}  // namespace hull::virtio
