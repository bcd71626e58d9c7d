// Sees to it that hull ends. A thread of its own hears the signals and watches the clock from the
// first moment to the last, whatever the main thread is busy with or waits for.
//
// While the machine is opened and built, a signal or the time-out calls the start off. While it
// runs, a signal presses the power button; the grace time, a second signal or the time-out switch
// it off. Whatever was ordered has kPatience to come about; then the warden restores the terminal,
// removes the PID file and leaves with the exit code of the order. Images that were not closed by
// then are as after a crash: consistent. Lack of memory, on any thread, is an order of that kind.
#pragma once

#include <signal.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "base/event_fd.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "vmm/domain.h"

namespace hull::cli {

class Warden {
 public:
  using Clock = std::chrono::steady_clock;
  // The end of what was ordered: one second, with some of it for the kernel to take hull down.
  static constexpr std::chrono::milliseconds kPatience{900};
  // Signals that come this close together are one wish: timeout(1) sends two, and so does a wrapper
  // that passes on the Ctrl-C which the terminal has sent to both.
  static constexpr std::chrono::milliseconds kOneWish{500};

  struct Limits {
    Clock::time_point entry = Clock::now();  // from when the time-out counts
    std::optional<std::chrono::seconds> timeout = std::nullopt;
    std::chrono::seconds grace{10};
    bool process_goes_on = false;  // ~Warden gives the signals back
  };

  // Blocks SIGTERM, SIGINT, SIGHUP, SIGQUIT and SIGXCPU in the calling thread, and hears them from
  // now on. Those but SIGTERM that were ignored stay ignored. Before any other thread.
  static Result<std::unique_ptr<Warden>> start(const Limits& limits);
  // Takes the signals that are still pending, and leaves them blocked: none of them can end the
  // process any more.
  ~Warden();
  Warden(const Warden&) = delete;
  Warden& operator=(const Warden&) = delete;

  // Requested when the start is called off; order() says why.
  std::stop_token start_called_off() const { return start_.get_token(); }
  std::optional<vmm::EndReason> order() const;

  // Whom the messages are about.
  void set_name(std::string name);
  // What has to be done before leaving by force: on the warden's thread, while others stand still.
  // Null: nothing. The old function is not running any more when this returns.
  void set_last_duty(std::function<void()> duty);

  // Told when hull is about to be left by force, after the last duty: the domain's name, and why.
  // On the warden's thread; must not wait.
  using Reporter = std::function<void(const std::string& name, const vmm::EndReason& reason)>;
  void set_reporter(Reporter reporter);

  // From now on orders go to `domain`, on the thread that runs `loop`, until detach().
  Result<void> attach(EventLoop& loop, vmm::Domain& domain);
  // The machine has ended: a signal means that the rest shall not take long either.
  void detach();

  // Called on the main thread when the power button is pressed.
  void on_power_button(std::function<void()> listener) { button_listener_ = std::move(listener); }

  // What was ordered has come about, and there is more to do than to leave: until the next signal,
  // or the time-out, that may take what it takes.
  void settle();

  // As a signal does: Ctrl-] at the console.
  void wish_for_end();

 private:
  enum class Phase : uint8_t { kStarting, kRunning, kTearDown };

  struct Signals {
    sigset_t watched;
    sigset_t mask_before;
  };
  Warden(const Limits& limits, const Signals& signals, UniqueFd signal_fd, EventFd wake,
         EventFd ordered)
      : limits_(limits),
        signals_(signals),
        signal_fd_(std::move(signal_fd)),
        wake_(std::move(wake)),
        ordered_(std::move(ordered)) {}
  void watch();
  void read_signals();
  void look_at_clock();
  void hear_wish() REQUIRES(mutex_);
  void give_order(vmm::EndReason reason) REQUIRES(mutex_);
  void pass_on_orders();
  int milliseconds_to_deadline() const;
  static void hear_lack_of_memory();
  [[noreturn]] void leave();

  const Limits limits_;
  const Signals signals_;
  const UniqueFd signal_fd_;
  const EventFd wake_;     // of the warden's thread
  const EventFd ordered_;  // of the event loop
  std::stop_source start_;
  std::atomic<bool> lacks_memory_{false};

  mutable Mutex mutex_;
  Phase phase_ GUARDED_BY(mutex_) = Phase::kStarting;
  bool dismissed_ GUARDED_BY(mutex_) = false;
  bool button_pressed_ GUARDED_BY(mutex_) = false;
  std::optional<vmm::EndReason> order_ GUARDED_BY(mutex_);
  std::optional<Clock::time_point> last_wish_ GUARDED_BY(mutex_);
  std::optional<Clock::time_point> timeout_at_ GUARDED_BY(mutex_);
  std::optional<Clock::time_point> grace_over_ GUARDED_BY(mutex_);
  std::optional<Clock::time_point> leave_at_ GUARDED_BY(mutex_);
  std::string name_ GUARDED_BY(mutex_) = "hull";

  Mutex duty_mutex_;
  std::function<void()> last_duty_ GUARDED_BY(duty_mutex_);
  Reporter reporter_ GUARDED_BY(duty_mutex_);

  std::function<void()> button_listener_;  // the main thread's
  EventLoop* loop_ = nullptr;              // the main thread's
  vmm::Domain* domain_ = nullptr;          // the main thread's
  Thread thread_;                          // last: it uses everything above
};

}  // namespace hull::cli
