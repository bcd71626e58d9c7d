// The one place that starts threads: each has a kind, a name, a signal mask that does not depend on
// who starts it, and a hook that runs first; a thread that cannot be made is an Error.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <functional>
#include <string_view>

#include "base/result.h"

namespace hull {

// What a thread does, and so what it may be allowed to do.
enum class ThreadKind : uint8_t {
  kVcpu,     // KVM_RUN and the devices' registers
  kBlock,    // an IoEngine: images and their queues
  kFile,     // blocking calls on behalf of an IoEngine
  kCompute,  // codecs, key derivation: no I/O
  kWorker,   // an EventLoop: network, entropy
  kConsole,  // a console's back end
  kControl,  // signals and the clock
  kLog,      // messages
};

// Owns a thread, and joins it when it dies. Not shared: one thread at a time uses it.
class Thread {
 public:
  Thread() = default;
  Thread(Thread&& other) noexcept
      : id_(other.id_), joinable_(std::exchange(other.joinable_, false)) {}
  Thread& operator=(Thread&& other) noexcept;  // joins what was there
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  ~Thread() { join(); }

  bool joinable() const { return joinable_; }
  bool is_current() const { return joinable_ && pthread_equal(id_, pthread_self()) != 0; }
  void join();  // nothing if there is no thread
  // Sends kick_signal() to the thread. Only while joinable().
  void kick() const;

 private:
  friend Result<Thread> start_thread(ThreadKind, std::string_view, std::function<void()>);
  pthread_t id_{};
  bool joinable_ = false;
};

// SIGRTMIN, which takes a vCPU's thread out of the guest. It is blocked in every thread, so it
// stays pending until the thread takes it (sigtimedwait), and no handler is needed or called.
int kick_signal();

// Runs `run` on a new thread; `name` is what ps shows (15 bytes are kept). All signals are blocked
// there but those by which the thread itself faults. kHost if the
// host refuses the thread, the hook's error if that fails: then `run` was not called.
Result<Thread> start_thread(ThreadKind kind, std::string_view name, std::function<void()> run);

// Called first on each new thread, before start_thread() returns: the place for confinement. For
// the whole process; null for none. Not while threads are being started.
using ThreadHook = Result<void> (*)(ThreadKind kind);
void set_thread_hook(ThreadHook hook);

}  // namespace hull
