#include "tools/hull/run_report.h"

#include "base/log.h"
#include "tools/hull/exit_code.h"

namespace hull::cli {

Result<std::unique_ptr<RunReport>> RunReport::open(const RunCommand& command) {
  std::unique_ptr<RunReport> report(new RunReport);
  report->result_name_ = command.result;
  if (!command.result.empty())
    report->result_ = TRY(ResultPlace::open(command.result).with_context("--result"));
  if (!command.events.empty())
    report->events_ = TRY(EventStream::open(command.events).with_context("--events"));
  return report;
}

int RunReport::conclude(RunRecord record, std::optional<int> job_code) {
  record.started = started_;
  record.ended = std::chrono::system_clock::now();
  record.resets = resets_;
  const Result<vmm::EndReason>& end = record.end;
  if (end && end->kind != vmm::EndKind::kPowerOff && !end->detail.empty())
    log_line(LogLevel::kError, fmt::format("{}: {}", record.domain, end->detail));
  record.exit_code = end ? exit_code_of(*end) : report(end.error());
  if (!record.job_detail.empty())
    log_line(LogLevel::kError, fmt::format("{}: {}", record.domain, record.job_detail));
  if (record.exit_code == kExitOk) record.exit_code = job_code.value_or(kExitOk);
  if (!begin_telling()) return record.exit_code;
  if (events_) events_->ended(record);
  if (!result_) return record.exit_code;
  const Result<void> written = result_->write(record).with_context("--result " + result_name_);
  // The guest's end counts for more, unless all was well.
  if (!written) {
    const int code = report(written.error());
    return record.exit_code == kExitOk ? code : record.exit_code;
  }
  return record.exit_code;
}

void RunReport::tell_left(const std::string& domain, const vmm::EndReason& reason) {
  if (!begin_telling()) return;
  const RunRecord record{.domain = domain,
                         .started = started_,
                         .ended = std::chrono::system_clock::now(),
                         .resets = resets_,
                         .exit_code = exit_code_of(reason),
                         .end = reason};
  if (events_) events_->ended(record);
  if (result_) result_->write_without_waiting(record);
}

}  // namespace hull::cli
