// A host that refuses threads: all of them, or all but the first few.
#pragma once

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>

#include "base/thread.h"

namespace hull::testing {

// While it lives pthread_create(3) fails as under a limit: no stack is that large.
class RefusedThreads {
 public:
  RefusedThreads() {
    pthread_attr_t attributes;
    pthread_getattr_default_np(&attributes);
    pthread_attr_getstacksize(&attributes, &before_);
    pthread_attr_destroy(&attributes);
    set(size_t{1} << 46);
  }
  ~RefusedThreads() { set(before_); }
  RefusedThreads(const RefusedThreads&) = delete;
  RefusedThreads& operator=(const RefusedThreads&) = delete;

 private:
  static void set(size_t size) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, size);
    EXPECT_EQ(pthread_setattr_default_np(&attributes), 0);
    pthread_attr_destroy(&attributes);
  }
  size_t before_ = 0;
};

// While it lives `count` more threads start and no other.
class FewThreads {
 public:
  explicit FewThreads(int count) {
    left() = count;
    set_thread_hook([](ThreadKind) -> Result<void> {
      if (left()-- > 0) return {};
      return fail(ErrorKind::kHost, "no more threads");
    });
  }
  ~FewThreads() { set_thread_hook(nullptr); }
  FewThreads(const FewThreads&) = delete;
  FewThreads& operator=(const FewThreads&) = delete;

 private:
  static std::atomic<int>& left() {
    static std::atomic<int> count{0};
    return count;
  }
};

}  // namespace hull::testing
