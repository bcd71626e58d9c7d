// A timer that a device sets from any thread. When it expires its owner calls back into the device,
// from a thread of its own choice.
#pragma once

#include <chrono>

namespace hull::devices {

// Never blocks. The last call counts; one that is over already may still be reported.
class AlarmTimer {
 public:
  virtual ~AlarmTimer() = default;
  virtual void arm(std::chrono::nanoseconds delay) = 0;  // more than zero
  virtual void disarm() = 0;
};

}  // namespace hull::devices
