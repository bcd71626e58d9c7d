// How long a loop looks for work before it sleeps.
//
// To sleep and to be woken costs some tens of microseconds on a virtual or idle processor, more
// than most requests. So a loop that was woken soon after it slept looks a little longer next time,
// and one that slept long does not look at all: an idle guest costs nothing.
#pragma once

#include <algorithm>
#include <chrono>

namespace hull::blockcore {

class PollWindow {
 public:
  using Duration = std::chrono::nanoseconds;
  static constexpr Duration kFirst = std::chrono::microseconds(4);
  static constexpr Duration kLongest = std::chrono::microseconds(50);

  Duration length() const { return length_; }

  // The loop had nothing to do for `idle`, including the time that it looked, and slept.
  void slept(Duration idle) {
    if (idle <= kLongest)
      length_ = length_ == Duration::zero() ? kFirst : std::min(2 * length_, kLongest);
    else
      length_ = length_ / 2 < kFirst ? Duration::zero() : length_ / 2;
  }

 private:
  Duration length_ = Duration::zero();
};

}  // namespace hull::blockcore
