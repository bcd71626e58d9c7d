#include "base/thread.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

#include <array>
#include <atomic>

#include "tests/support/refused_threads.h"

namespace hull {
namespace {

// As a server does that gives its signals to one thread.
class AllBlocked {
 public:
  AllBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

bool is_blocked(const sigset_t& mask, int signal) { return sigismember(&mask, signal) == 1; }

sigset_t mask_in_thread(ThreadKind kind) {
  sigset_t mask;
  start_thread(kind, "mask", [&] { pthread_sigmask(SIG_SETMASK, nullptr, &mask); }).value();
  return mask;
}

TEST(Thread, RunsUnderItsNameAndIsJoined) {
  std::array<char, 16> name{};
  bool current = true;
  Thread thread = start_thread(ThreadKind::kWorker, "a name that is too long", [&] {
                    pthread_getname_np(pthread_self(), name.data(), name.size());
                  }).value();
  EXPECT_TRUE(thread.joinable());
  current = thread.is_current();
  thread.join();
  EXPECT_FALSE(current);
  EXPECT_FALSE(thread.joinable());
  EXPECT_STREQ(name.data(), "a name that is ");
}

TEST(Thread, IsJoinedWhenItDiesOrIsReplaced) {
  std::atomic<int> finished{0};
  const auto finish = [&] { ++finished; };
  {
    Thread thread = start_thread(ThreadKind::kWorker, "first", finish).value();
    thread = start_thread(ThreadKind::kWorker, "second", finish).value();
  }
  EXPECT_EQ(finished, 2);
}

TEST(Thread, BlocksSignalsWhoeverStartsIt) {
  for (const ThreadKind kind : {ThreadKind::kBlock, ThreadKind::kVcpu}) {
    const sigset_t mask = mask_in_thread(kind);
    EXPECT_TRUE(is_blocked(mask, SIGTERM));
    EXPECT_TRUE(is_blocked(mask, SIGALRM));
    EXPECT_FALSE(is_blocked(mask, SIGSEGV)) << "a fault must be reported";
  }
  EXPECT_TRUE(is_blocked(mask_in_thread(ThreadKind::kBlock), SIGRTMIN));
}

TEST(Thread, DoesNotChangeTheMaskOfWhoStartsIt) {
  sigset_t before;
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  start_thread(ThreadKind::kVcpu, "mask", [] {}).value();
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int signal : {SIGTERM, SIGINT, SIGRTMIN})
    EXPECT_EQ(is_blocked(before, signal), is_blocked(after, signal));
}

TEST(Thread, KickReachesAThreadThoughTheProcessHasOtherPlansForTheSignal) {
  for (const auto disposition : {SIG_IGN, SIG_DFL}) {
    ::signal(kick_signal(), disposition);
    const AllBlocked blocked;
    int taken = 0;
    Thread thread = start_thread(ThreadKind::kVcpu, "vcpu0", [&] {
                      sigset_t kick;
                      sigemptyset(&kick);
                      sigaddset(&kick, kick_signal());
                      const timespec limit{.tv_sec = 60, .tv_nsec = 0};
                      taken = ::sigtimedwait(&kick, nullptr, &limit);
                    }).value();
    thread.kick();
    thread.join();
    EXPECT_EQ(taken, kick_signal());
  }
  ::signal(kick_signal(), SIG_DFL);
}

TEST(Thread, KickCallsNoHandlerOfTheProcess) {
  static std::atomic<int> calls{0};
  ::signal(kick_signal(), [](int) { ++calls; });
  std::atomic<bool> leave{false};
  Thread thread = start_thread(ThreadKind::kVcpu, "vcpu0", [&] {
                    while (!leave) ::poll(nullptr, 0, 1);
                  }).value();
  for (int i = 0; i < 10; ++i) thread.kick();
  leave = true;
  thread.join();
  EXPECT_EQ(calls, 0);
  ::signal(kick_signal(), SIG_DFL);
}

TEST(Thread, RefusedByTheHostIsAnError) {
  const testing::RefusedThreads refused;
  bool ran = false;
  const auto thread = start_thread(ThreadKind::kVcpu, "vcpu3", [&] { ran = true; });
  ASSERT_FALSE(thread);
  EXPECT_EQ(thread.error().kind(), ErrorKind::kHost);
  EXPECT_TRUE(thread.error().message().starts_with("start thread 'vcpu3': "))
      << thread.error().message();
  EXPECT_FALSE(ran);
}

std::atomic<int> g_hooked{0};
pthread_t g_hooked_on;

TEST(Thread, HookRunsFirstOnTheThread) {
  set_thread_hook([](ThreadKind kind) -> Result<void> {
    EXPECT_EQ(kind, ThreadKind::kConsole);
    g_hooked_on = pthread_self();
    ++g_hooked;
    return {};
  });
  bool same = false;
  Thread thread = start_thread(ThreadKind::kConsole, "console", [&] {
                    same = g_hooked == 1 && pthread_equal(g_hooked_on, pthread_self()) != 0;
                  }).value();
  EXPECT_EQ(g_hooked, 1) << "before start_thread() returns";
  thread.join();
  set_thread_hook(nullptr);
  EXPECT_TRUE(same);
}

TEST(Thread, HookThatFailsKeepsTheThreadFromRunning) {
  set_thread_hook(
      [](ThreadKind) -> Result<void> { return fail(ErrorKind::kUnsupported, "no filter"); });
  bool ran = false;
  const auto thread = start_thread(ThreadKind::kBlock, "block", [&] { ran = true; });
  set_thread_hook(nullptr);
  ASSERT_FALSE(thread);
  EXPECT_EQ(thread.error().kind(), ErrorKind::kUnsupported);
  EXPECT_EQ(thread.error().message(), "thread 'block': no filter");
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace hull
