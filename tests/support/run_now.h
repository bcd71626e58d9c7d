// Runs a coroutine that needs no engine (everything below it is in memory) to its end.
#pragma once

#include <optional>

#include "base/check.h"
#include "blockcore/async/task.h"

namespace hull::testing {

template <class T>
T run_now(blockcore::Task<T> task) {
  std::optional<T> result;
  blockcore::start_detached(
      [](blockcore::Task<T> inner, std::optional<T>& out) -> blockcore::Task<void> {
        out.emplace(co_await inner);
      }(std::move(task), result));
  CHECK(result.has_value());
  return *std::move(result);
}

}  // namespace hull::testing
