// Standard input and output. A terminal is put into raw mode, so that every key reaches the guest,
// and Ctrl-] is kept for ourselves. In the background of a shell nothing is read.
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "devices/console/console.h"
#include "devices/console/console_backend.h"
#include "devices/console/terminal_guard.h"

namespace hull::devices {

namespace {

constexpr std::chrono::milliseconds kForegroundPoll{300};

// A shell's background job: reading from the terminal would stop the process (SIGTTIN), and its
// mode is somebody else's. A terminal that is not our controlling one has no such rules.
bool is_background_of(int terminal) {
  const pid_t foreground = ::tcgetpgrp(terminal);
  return foreground >= 0 && foreground != ::getpgrp();
}

class StdioBackend final : public ConsoleBackend {
 public:
  using ConsoleBackend::ConsoleBackend;
  ~StdioBackend() override {
    loop_.cancel(timer_);
    drop_guard();
  }

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
    terminal_ = ::isatty(fd) == 1;
    auto input = NonBlockingFd::from_inherited(fd, O_RDONLY);
    if (!input) return {};  // closed: there is no input, as with /dev/null
    const int raw_fd = input->fd();
    start_reader(std::move(*input));
    if (!terminal_ || !is_background_of(raw_fd)) return take_terminal();
    LOG_WARN("console: in the background: nothing is read from the terminal before 'fg'");
    wait_for_foreground();
    return {};
  }

  Result<void> take_terminal() {
    if (!terminal_) return {};
    if (guard_) return guard_->make_raw_again();
    guard_.emplace(TRY(TerminalGuard::make_raw(reader_->fd())));
    return loop_.add(guard_->continued_fd(), EPOLLIN, [this](uint32_t) { on_continued(); });
  }

  // The shell has used the terminal meanwhile, or uses it still.
  void on_continued() {
    guard_->forget_continued();
    wait_for_foreground();
  }

  // A shell's `fg` tells nobody but those that were stopped.
  void wait_for_foreground() {
    if (!reader_ || timer_ != 0) return;
    if (is_background_of(reader_->fd())) {
      timer_ = loop_.call_after(kForegroundPoll, [this] {
        timer_ = 0;
        wait_for_foreground();
      });
      return;
    }
    if (const auto taken = take_terminal(); !taken)
      LOG_WARN("console: {}", taken.error().message());
    reader_->resume();
  }

  // Asked for before each read.
  size_t input_space() override {
    if (terminal_ && reader_ && is_background_of(reader_->fd())) {
      wait_for_foreground();
      return 0;
    }
    return ConsoleBackend::input_space();
  }

  void on_input(std::span<const uint8_t> data) override {
    const auto key = guard_ ? std::ranges::find(data, Console::kEscapeKey) : data.end();
    const auto length = static_cast<size_t>(key - data.begin());
    if (length != 0) frontend_.on_input(data.first(length));
    if (key != data.end()) frontend_.on_escape();
  }

  // The guard borrows the reader's descriptor: it goes first.
  void on_input_end() override {
    drop_guard();
    reader_.reset();
  }
  void drop_guard() {
    if (guard_) loop_.remove(guard_->continued_fd());
    guard_.reset();
  }

  bool terminal_ = false;
  uint64_t timer_ = 0;  // 0: none
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
