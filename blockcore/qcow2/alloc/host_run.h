// Host clusters in a row, and the list of those that an image no longer refers to.
#pragma once

#include <cstdint>
#include <vector>

namespace hull::blockcore::qcow2 {

struct HostRun {
  uint64_t first = 0;  // index of a host cluster
  uint64_t count = 0;
};

// Joins a reference that is dropped to the run before it where they meet.
inline void add_run(std::vector<HostRun>& runs, HostRun run) {
  if (!runs.empty() && runs.back().first + runs.back().count == run.first)
    runs.back().count += run.count;
  else
    runs.push_back(run);
}

}  // namespace hull::blockcore::qcow2
