#include "base/thread.h"

#include <signal.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <semaphore>
#include <utility>

#include "base/check.h"

namespace hull {

namespace {

// Lives until both the thread and who started it have let go of it.
struct Start {
  ThreadKind kind{};
  std::array<char, 16> name{};
  std::function<void()> run;
  ThreadHook hook = nullptr;
  Result<void> hooked{};
  std::binary_semaphore hook_done{0};
};

std::atomic<ThreadHook> g_hook{nullptr};

sigset_t mask_of_threads() {
  sigset_t mask;
  sigfillset(&mask);
  // The kernel kills a process at once whose faulting thread blocks these: nobody could report it.
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT})
    sigdelset(&mask, fault);
  return mask;
}

void* thread_main(void* argument) {
  std::shared_ptr<Start> start = std::move(*static_cast<std::shared_ptr<Start>*>(argument));
  delete static_cast<std::shared_ptr<Start>*>(argument);
  pthread_setname_np(pthread_self(), start->name.data());
  if (start->hook != nullptr) {
    start->hooked = start->hook(start->kind);
    const bool confined = start->hooked.has_value();
    start->hook_done.release();
    if (!confined) return nullptr;
  }
  const std::function<void()> run = std::move(start->run);
  start.reset();
  run();
  return nullptr;
}

// The thread inherits the mask: an attribute of it is lost under the address sanitizer. It takes
// the argument over, unless it cannot be made.
int create(pthread_t& id, std::shared_ptr<Start> start) {
  auto argument = std::make_unique<std::shared_ptr<Start>>(std::move(start));
  const sigset_t mask = mask_of_threads();
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, &mask, &before);
  auto* const passed = argument.release();
  const int error = pthread_create(&id, nullptr, thread_main, passed);
  if (error != 0) argument.reset(passed);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

const char* remedy(int error) {
  if (error == EINVAL) return "after 'unshare --pid' only another process can ('--fork')";
  return "look at 'ulimit -u', 'ulimit -v' and the pids limit of the control group";
}

}  // namespace

Thread& Thread::operator=(Thread&& other) noexcept {
  if (this == &other) return *this;
  join();
  id_ = other.id_;
  joinable_ = std::exchange(other.joinable_, false);
  return *this;
}

void Thread::join() {
  if (!std::exchange(joinable_, false)) return;
  CHECK(pthread_join(id_, nullptr) == 0);
}

int kick_signal() { return SIGRTMIN; }

void Thread::kick() const {
  CHECK(joinable_);
  pthread_kill(id_, kick_signal());
}

void set_thread_hook(ThreadHook hook) { g_hook.store(hook); }

Result<Thread> start_thread(ThreadKind kind, std::string_view name, std::function<void()> run) {
  auto start = std::make_shared<Start>();
  start->kind = kind;
  start->run = std::move(run);
  start->hook = g_hook.load();
  name.substr(0, start->name.size() - 1).copy(start->name.data(), start->name.size() - 1);
  Thread thread;
  const int error = create(thread.id_, start);
  if (error != 0)
    return fail(ErrorKind::kHost, "{}; {}",
                Error::of_host(fmt::format("start thread '{}'", name), error).message(),
                remedy(error));
  thread.joinable_ = true;
  if (start->hook == nullptr) return thread;
  start->hook_done.acquire();
  if (!start->hooked)
    return std::unexpected(
        std::move(start->hooked).with_context(fmt::format("thread '{}'", name)).error());
  return thread;
}

}  // namespace hull
