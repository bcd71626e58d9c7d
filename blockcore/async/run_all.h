// Several operations in flight at once.
#pragma once

#include <vector>

#include "blockcore/async/task.h"

namespace hull::blockcore {

// Starts all of them and waits until the last one is done. The first error, in the order of the
// list.
Task<Result<void>> run_all(std::vector<Task<Result<void>>> tasks);

}  // namespace hull::blockcore
