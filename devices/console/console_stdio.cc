// Standard input and output. A terminal is put into raw mode, so that every key reaches the guest,
// and Ctrl-] is kept for ourselves.
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "devices/console/console.h"
#include "devices/console/console_backend.h"
#include "devices/console/terminal_guard.h"

namespace hull::devices {

namespace {

// A shell's background job: reading from the terminal would stop the process (SIGTTIN), and its
// mode is somebody else's. A terminal that is not our controlling one has no such rules.
bool is_background_of(int terminal) {
  const pid_t foreground = ::tcgetpgrp(terminal);
  return foreground >= 0 && foreground != ::getpgrp();
}

class StdioBackend final : public ConsoleBackend {
 public:
  using ConsoleBackend::ConsoleBackend;

  Result<void> open(int input_fd, int output_fd) {
    auto output = NonBlockingFd::from_inherited(output_fd, O_WRONLY);
    if (output)
      start_writer(std::move(*output));
    else
      LOG_WARN("console: standard output: {}", output.error().message());
    return open_input(input_fd);
  }

 private:
  Result<void> open_input(int fd) {
    const bool terminal = ::isatty(fd) == 1;
    if (terminal && is_background_of(fd)) {
      LOG_WARN("console: in the background, so nothing is read from the terminal");
      return {};
    }
    auto input = NonBlockingFd::from_inherited(fd, O_RDONLY);
    if (!input) return {};  // closed: there is no input, as with /dev/null
    if (terminal) guard_.emplace(TRY(TerminalGuard::make_raw(input->fd())));
    start_reader(std::move(*input));
    return {};
  }

  void on_input(std::span<const uint8_t> data) override {
    const auto key = guard_ ? std::ranges::find(data, Console::kEscapeKey) : data.end();
    const auto length = static_cast<size_t>(key - data.begin());
    if (length != 0) frontend_.on_input(data.first(length));
    if (key != data.end()) frontend_.on_escape();
  }

  // The guard borrows the reader's descriptor: it goes first.
  void on_input_end() override {
    guard_.reset();
    reader_.reset();
  }

  std::optional<TerminalGuard> guard_;
};

}  // namespace

Result<std::unique_ptr<ConsoleBackend>> open_stdio_backend(EventLoop& loop,
                                                           ConsoleFrontend& frontend,
                                                           const ConsoleOptions& options) {
  auto backend = std::make_unique<StdioBackend>(loop, frontend);
  auto opened = backend->open(options.input_fd, options.output_fd);
  if (!opened) return std::unexpected(std::move(opened).error());
  return backend;
}

}  // namespace hull::devices
