#include "tools/hull/img_progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <ctime>

#include "tools/hull/command_line.h"

namespace hull::cli {
namespace {

constexpr double kStepPercent = 1.0;
constexpr int kBarColumns = 50;  // where nobody knows how wide the terminal is
constexpr int kBarFrame =
    10;  // brackets, percentage, and the column that makes some terminals wrap
constexpr int kLeastColumns = 20;  // narrower ones get a bar that is too wide

// As wide as the terminal, which may change.
int bar_columns() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kBarColumns;
  return std::max<int>(size.ws_col, kLeastColumns) - kBarFrame;
}

// SIGUSR1 asks how far the work has come; it is blocked in all threads and waits until somebody
// looks.
bool take_progress_signal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  constexpr timespec kNow{};
  return ::sigtimedwait(&signals, nullptr, &kNow) == SIGUSR1;
}

}  // namespace

void block_progress_signal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

void ImgProgressOptions::add_options(CommandLine& app) {
  app.add_flag("-p", wanted, "show progress: a bar on a terminal, percentages elsewhere");
  app.add_option("--progress", form, "show progress as bar, plain or json (one object a line)")
      .one_of({"bar", "plain", "json"});
}

ImgProgress::ImgProgress(const ImgProgressOptions& options, bool quiet) {
  if (quiet || (!options.wanted && options.form.empty())) return;
  if (options.form == "json") {
    form_ = Form::kJson;
  } else if (options.form == "bar" || (options.form.empty() && ::isatty(STDOUT_FILENO) == 1)) {
    form_ = Form::kBar;
  } else {
    form_ = Form::kPlain;
  }
  update(0, 1);
}

ImgProgress::~ImgProgress() {
  if (form_ == Form::kPlain || form_ == Form::kBar) fmt::print("\n");
  std::fflush(stdout);
}

void ImgProgress::update(uint64_t done, uint64_t total) {
  const double percent =
      total == 0 ? 100.0
                 : 100.0 * static_cast<double>(std::min(done, total)) / static_cast<double>(total);
  if (take_progress_signal()) {
    std::fflush(stdout);
    fmt::print(stderr, "    ({:3.2f}/100%)\n", percent);
  }
  if (form_ == Form::kNone) return;
  const bool at_end = percent >= 100.0 && printed_ < 100.0;
  if (printed_ >= 0 && percent < printed_ + kStepPercent && !at_end) return;
  printed_ = percent;
  print(percent, done, total);
  std::fflush(stdout);
}

void ImgProgress::print(double percent, uint64_t done, uint64_t total) {
  switch (form_) {
    case Form::kPlain: fmt::print("    ({:3.2f}/100%)\r", percent); return;
    case Form::kBar: {
      const int columns = bar_columns();
      const auto filled = static_cast<int>(percent / 100.0 * columns);
      fmt::print("\r[{:#<{}}{:{}}] {:5.1f}%", "", filled, "", columns - filled, percent);
      return;
    }
    case Form::kJson:
      // `total` is 1 where only the end is known.
      if (total <= 1)
        fmt::print("{{\"percent\": {:.2f}}}\n", percent);
      else
        fmt::print("{{\"percent\": {:.2f}, \"done\": {}, \"total\": {}}}\n", percent, done, total);
      return;
    case Form::kNone: return;
  }
}

}  // namespace hull::cli
