// A mutex that clang's -Wthread-safety understands. Fields say GUARDED_BY(mutex_); the data path
// takes no lock at all. Waited for with std::condition_variable_any.
#pragma once

#include <mutex>

#if defined(__clang__)
#define HULL_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define HULL_THREAD_ANNOTATION(x)
#endif
#define CAPABILITY(x) HULL_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY HULL_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) HULL_THREAD_ANNOTATION(guarded_by(x))
#define REQUIRES(...) HULL_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) HULL_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) HULL_THREAD_ANNOTATION(release_capability(__VA_ARGS__))

namespace hull {

class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace hull
