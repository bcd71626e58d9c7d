#include "devices/console/console.h"

#include <sys/epoll.h>

#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "devices/console/console_log.h"

namespace hull::devices {

Result<std::unique_ptr<Console>> Console::create(EventLoop& loop, const ConsoleOptions& options,
                                                 std::function<void()> on_escape) {
  std::unique_ptr<Console> console(new Console(loop, std::move(on_escape)));
  auto opened = console->open(options);
  if (!opened) return std::unexpected(std::move(opened).error());
  return console;
}

Console::Console(EventLoop& loop, std::function<void()> on_escape)
    : loop_(loop), escape_handler_(std::move(on_escape)) {}

Console::~Console() { detach(); }

Result<void> Console::open(const ConsoleOptions& options) {
  ConsoleFrontend& frontend = *this;
  if (!options.log_file.empty()) log_ = TRY(ConsoleLog::open(options.log_file, options.log_append));
  switch (options.kind) {
    case ConsoleKind::kStdio: backend_ = TRY(open_stdio_backend(loop_, frontend, options)); break;
    case ConsoleKind::kFile: backend_ = TRY(open_file_backend(loop_, frontend, options)); break;
    case ConsoleKind::kPty: backend_ = TRY(open_pty_backend(loop_, frontend)); break;
    case ConsoleKind::kUnix: backend_ = TRY(open_unix_backend(loop_, frontend, options)); break;
    case ConsoleKind::kNull: backend_ = std::make_unique<ConsoleBackend>(loop_, frontend); break;
  }
  return {};
}

Result<void> Console::attach(Serial16550& serial) {
  CHECK(serial_ == nullptr);
  TRY(loop_.add(serial.output_ready().fd(), EPOLLIN, [this](uint32_t) { on_output_ready(); }));
  auto added = loop_.add(serial.input_room().fd(), EPOLLIN, [this](uint32_t) {
    serial_->input_room().consume();
    backend_->resume_input();
  });
  if (!added) {
    loop_.remove(serial.output_ready().fd());
    return added;
  }
  serial_ = &serial;
  write_pending();
  look_for_more();
  backend_->resume_input();
  return {};
}

void Console::detach() {
  if (serial_ == nullptr) return;
  loop_.cancel(std::exchange(timer_, 0));
  loop_.remove(serial_->output_ready().fd());
  loop_.remove(serial_->input_room().fd());
  serial_ = nullptr;
  seen_ = 0;
}

bool Console::drained() {
  write_pending();
  if (serial_ != nullptr && serial_->waiting_output_bytes() != 0) return false;
  return !backend_->unread();
}

void Console::give_up_rest() {
  if (serial_ == nullptr) return;
  if (const size_t left = serial_->waiting_output_bytes(); left != 0)
    LOG_WARN("console: the last {} bytes of output were not taken in time", left);
}

const std::string& Console::path() const { return backend_->path(); }

void Console::on_output_ready() {
  serial_->output_ready().consume();
  write_pending();
  timer_ = loop_.call_after(kCollect, [this] { look_for_more(); });
}

// Collecting saves a fast guest a wake-up of this thread for every byte.
void Console::look_for_more() {
  timer_ = 0;
  if (serial_->rearm_output()) return;
  write_pending();
  timer_ = loop_.call_after(kCollect, [this] { look_for_more(); });
}

void Console::write_pending() {
  // The back end may report its end in the middle of a write.
  if (serial_ == nullptr || std::exchange(writing_, true)) return;
  const RingView pending = serial_->output();
  const RingView fresh = pending.skip(seen_);
  seen_ = pending.size();
  for (const std::span<const uint8_t> part : {fresh.first, fresh.second}) {
    if (log_) log_->write(part);
    if (observer_ && !part.empty()) observer_(part);
  }
  size_t done = write_to_backend(pending);
  skip_backlog(pending, done);
  serial_->consume_output(done);
  seen_ -= done;
  writing_ = false;
}

size_t Console::write_to_backend(const RingView& pending) {
  const size_t done = backend_->write(pending.first);
  if (done < pending.first.size()) return done;
  return done + backend_->write(pending.second);
}

void Console::skip_backlog(const RingView& pending, size_t& done) {
  if (pending.size() - done <= kMaxBacklog) return;
  done = pending.size() - kMaxBacklog;
  if (!std::exchange(skip_reported_, true))
    LOG_WARN("console: the guest writes faster than its output is taken; parts are left out");
  if (serial_->dropped_output_bytes() != 0 && !std::exchange(drop_reported_, true))
    LOG_WARN("console: the guest ignores the full serial port; output is lost");
}

size_t Console::input_space() { return serial_ == nullptr ? 0 : serial_->input_space(); }

void Console::on_input(std::span<const uint8_t> data) {
  const size_t taken = serial_->receive(data);
  CHECK(taken == data.size());
}

void Console::on_output_possible() { write_pending(); }

void Console::on_escape() {
  if (escape_handler_) escape_handler_();
}

}  // namespace hull::devices
