#include "blockcore/async/run_all.h"

#include <coroutine>
#include <cstddef>

namespace hull::blockcore {
namespace {

// Resumed by the last one; one more is counted until the waiter is ready to be resumed.
struct Group {
  std::vector<Result<void>> results;
  size_t running;
  std::coroutine_handle<> waiting;

  bool finish_one() { return --running == 0; }
};

Task<void> run_one(Group& group, size_t index, Task<Result<void>> task) {
  group.results[index] = co_await task;
  if (group.finish_one()) group.waiting.resume();
}

struct AllDone {
  Group& group;
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiting) const {
    group.waiting = waiting;
    return !group.finish_one();
  }
  void await_resume() const noexcept {}
};

}  // namespace

Task<Result<void>> run_all(std::vector<Task<Result<void>>> tasks) {
  Group group{std::vector<Result<void>>(tasks.size()), tasks.size() + 1, {}};
  for (size_t i = 0; i < tasks.size(); ++i) start_detached(run_one(group, i, std::move(tasks[i])));
  co_await AllDone{group};
  for (Result<void>& result : group.results)
    if (!result) co_return std::move(result);
  co_return {};
}

}  // namespace hull::blockcore
