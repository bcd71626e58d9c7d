#include "blockcore/engine/worker_pool.h"

#include "base/check.h"
#include "blockcore/engine/signal_mask.h"

namespace hull::blockcore {

WorkerPool::WorkerPool(IoEngine& engine, unsigned threads) : engine_(engine) {
  const AllSignalsBlocked blocked;
  threads_.reserve(threads);
  for (unsigned worker = 0; worker < threads; ++worker)
    threads_.emplace_back([this, worker] { work(worker); });
}

WorkerPool::~WorkerPool() {
  {
    const MutexLock lock(mutex_);
    CHECK(jobs_.empty());
    quit_ = true;
  }
  job_available_.notify_all();
  for (std::thread& thread : threads_) thread.join();
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
