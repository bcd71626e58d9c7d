// How a run of the virtual machine ended: recorded once, by whichever thread sees the end first.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/event_fd.h"
#include "base/mutex.h"
#include "devices/power_events.h"

namespace hull::vmm {

enum class EndKind : uint8_t {
  kPowerOff,    // the guest switched itself off (ACPI S5)
  kReset,       // the guest asked for a reset
  kPanic,       // the guest reported a panic (pvpanic)
  kGuestCrash,  // triple fault, or KVM could not go on with the guest
  kDebugExit,   // a test guest wrote a code to the debug-exit port
  kForced,      // stopped from outside without the guest's consent
  kTimeout,     // --timeout ran out
  kHostError,   // a host facility failed under the running guest
};

struct EndReason {
  EndKind kind = EndKind::kForced;
  unsigned code = 0;     // kDebugExit
  std::string detail{};  // one line for people, may be empty
};

// All members from any thread.
class Outcome final : public devices::PowerEvents {
 public:
  static Result<std::unique_ptr<Outcome>> create();

  // The first call wins; later ones change nothing.
  void record(EndReason reason);
  bool ended() const { return ended_.load(std::memory_order_acquire); }
  // Readable once ended() is true.
  int event_fd() const { return event_.fd(); }
  // Only when ended().
  EndReason reason() const;

  void power_off() override { record({.kind = EndKind::kPowerOff}); }
  void reset() override { record({.kind = EndKind::kReset}); }
  void guest_panicked() override {
    record({.kind = EndKind::kPanic, .detail = "the guest reported a panic"});
  }
  void debug_exit(uint32_t code) override { record({.kind = EndKind::kDebugExit, .code = code}); }

 private:
  explicit Outcome(EventFd event) : event_(std::move(event)) {}

  EventFd event_;
  std::atomic<bool> ended_{false};
  mutable Mutex mutex_;
  EndReason reason_ GUARDED_BY(mutex_);
};

}  // namespace hull::vmm
