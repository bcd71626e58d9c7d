#include "blockcore/engine/worker_pool.h"

#include "base/check.h"

namespace hull::blockcore {

Result<std::unique_ptr<WorkerPool>> WorkerPool::create(IoEngine& engine, unsigned threads) {
  CHECK(threads > 0);
  std::unique_ptr<WorkerPool> pool(new WorkerPool(engine));
  WorkerPool* const self = pool.get();
  for (unsigned worker = 0; worker < threads; ++worker) {
    Result<Thread> thread = start_thread(ThreadKind::kCompute, fmt::format("codec{}", worker),
                                         [self, worker] { self->work(worker); });
    if (!thread && worker == 0) return std::unexpected(std::move(thread).error());
    if (!thread) break;
    pool->threads_.push_back(*std::move(thread));
  }
  return pool;
}

WorkerPool::~WorkerPool() {
  {
    const MutexLock lock(mutex_);
    CHECK(jobs_.empty());
    quit_ = true;
  }
  job_available_.notify_all();
  for (Thread& thread : threads_) thread.join();
}

void WorkerPool::start(Job& job) {
  {
    const MutexLock lock(mutex_);
    jobs_.push_back(&job);
  }
  job_available_.notify_one();
}

void WorkerPool::work(unsigned worker) {
  mutex_.lock();
  for (;;) {
    while (jobs_.empty() && !quit_) job_available_.wait(mutex_);
    if (jobs_.empty()) break;
    Job& job = *jobs_.front();
    jobs_.pop_front();
    mutex_.unlock();
    job.work(worker);
    engine_.post([&job] { job.waiting.resume(); });
    mutex_.lock();
  }
  mutex_.unlock();
}

}  // namespace hull::blockcore
