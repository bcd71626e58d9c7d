// How a run ended, told to all who asked: --result, the last line of --events, standard error, and
// the exit code.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "base/result.h"
#include "tools/hull/run_options.h"
#include "tools/hull/run_record.h"

namespace hull::cli {

class RunReport {
 public:
  // Before anything else, so that a mistake is found while nothing has happened.
  static Result<std::unique_ptr<RunReport>> open(const RunCommand& command);

  const std::shared_ptr<EventStream>& events() const { return events_; }  // null: nobody listens
  std::atomic<unsigned>& resets() { return resets_; }
  std::chrono::system_clock::time_point started() const { return started_; }

  // Returns the exit code. `record.job_detail` is said too, and is an error of its own if the guest
  // ended well.
  int conclude(RunRecord record, std::optional<int> job_code);
  // Instead, on any thread: the process is about to be left. Waits for nobody.
  void tell_left(const std::string& domain, const vmm::EndReason& reason);

 private:
  RunReport() = default;
  bool begin_telling() { return !told_.exchange(true); }

  std::string result_name_;
  std::optional<ResultPlace> result_;
  std::shared_ptr<EventStream> events_;
  const std::chrono::system_clock::time_point started_ = std::chrono::system_clock::now();
  std::atomic<unsigned> resets_{0};
  std::atomic<bool> told_{false};
};

}  // namespace hull::cli
