// How far a verb has come: -p, --progress=FORM.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace hull::cli {

class CommandLine;

struct ImgProgressOptions {
  bool wanted = false;
  std::string form;  // empty: a bar on a terminal, else plain

  // -p and --progress.
  void add_options(CommandLine& app);
};

// From here on SIGUSR1 ends no verb: those that report progress answer it as qemu-img does, with
// the percentage on stderr. Before any thread is started.
void block_progress_signal();

// Prints to stdout as the work goes on: a bar that is redrawn, the percentages of qemu-img
// ("    (12.34/100%)" and a carriage return), or a line of JSON for each step. One thread.
class ImgProgress {
 public:
  ImgProgress(const ImgProgressOptions& options, bool quiet);
  ImgProgress(const ImgProgress&) = delete;
  ImgProgress& operator=(const ImgProgress&) = delete;
  ~ImgProgress();  // ends the line

  void update(uint64_t done, uint64_t total);
  // The work succeeded: 100 %.
  void finish() { update(1, 1); }

 private:
  enum class Form : uint8_t { kNone, kPlain, kBar, kJson };
  void print(double percent, uint64_t done, uint64_t total);

  Form form_ = Form::kNone;
  double printed_ = -1;  // percent
};

}  // namespace hull::cli
