// The main job in small: hull's own guest, booted from a copy-on-write disk in a directory of its
// own.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace hull::cli {

struct TrialResult {
  std::vector<std::string> facts;  // lines, in the order in which they happened
  double start_ms = 0;             // until the machine ended, all of it
  bool base_unchanged = false;
  bool passed = false;  // the guest verified its disk and powered off, the base is intact
};

// Errors: what kept the trial from running at all. Leaves nothing behind.
Result<TrialResult> run_trial();

}  // namespace hull::cli
