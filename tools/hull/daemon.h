// --fork: the program goes on in a child when its caller gets the terminal back.
#pragma once

#include <functional>

#include "base/unique_fd.h"

namespace hull::cli {

// Told once by the child that it is up and running.
class Readiness {
 public:
  Readiness() = default;  // nobody waits
  explicit Readiness(UniqueFd pipe) : pipe_(std::move(pipe)) {}
  // From here on the child has neither terminal nor caller.
  void announce();

 private:
  UniqueFd pipe_;
};

// Runs `child` in a process of its own session and returns when it has announced its readiness (0)
// or has ended without (its exit code). To be called before there are threads.
int run_in_background(const std::function<int(Readiness)>& child);

}  // namespace hull::cli
