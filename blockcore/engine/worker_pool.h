// A few threads for work that only computes (codecs), so that the engine's thread keeps the I/O
// going meanwhile.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "base/thread.h"
#include "blockcore/engine/io_engine.h"

namespace hull::blockcore {

class WorkerPool {
 public:
  // `engine` must be running, or be in run_until_done(), while jobs are awaited. Fewer than
  // `threads` (> 0) if the host refuses some, kHost if it refuses all.
  static Result<std::unique_ptr<WorkerPool>> create(IoEngine& engine, unsigned threads);
  ~WorkerPool();  // no job may be in flight
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  unsigned threads() const { return static_cast<unsigned>(threads_.size()); }

  // Lives in the frame of the coroutine that awaits it.
  struct Job {
    WorkerPool& pool;
    std::function<void(unsigned worker)> work;
    std::coroutine_handle<> waiting = {};
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> awaiting) {
      waiting = awaiting;
      pool.start(*this);
    }
    void await_resume() const noexcept {}
  };
  // co_await pool.run(work): calls work(index of the thread) on one of the threads, resumes on the
  // engine's. Jobs begin in the order in which they are awaited.
  Job run(std::function<void(unsigned worker)> work) { return {*this, std::move(work)}; }

 private:
  explicit WorkerPool(IoEngine& engine) : engine_(engine) {}
  void start(Job& job);
  void work(unsigned worker);

  IoEngine& engine_;
  Mutex mutex_;
  std::condition_variable_any job_available_;
  std::deque<Job*> jobs_ GUARDED_BY(mutex_);
  bool quit_ GUARDED_BY(mutex_) = false;
  std::vector<Thread> threads_;  // constant after create()
};

}  // namespace hull::blockcore
