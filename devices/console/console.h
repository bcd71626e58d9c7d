// The other end of the serial line: where the guest's output goes and its input comes from.
//
// Everything here runs on the thread of the event loop that it is given. Output is written first to
// the log file, if there is one, then to the back end. A back end that is slow (a pipe nobody
// reads, a stopped terminal) fills the serial port's ring and so slows the guest down; one where
// nobody is attached (pty, socket) or that failed (closed pipe, full disk) drops the bytes. A guest
// that goes on writing all the same makes a slow back end lose the oldest bytes (kMaxBacklog). The
// log file gets every byte in any case; what a full disk makes it lose is counted and reported.
//
// The first byte after a pause is written at once; further ones are collected for kCollect.
//
// The process ignores SIGPIPE, or a closed pipe would kill it, and SIGXFSZ.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/spec.h"
#include "devices/console/console_backend.h"
#include "devices/serial_16550.h"

namespace hull::devices {

using hull::ConsoleKind;

struct ConsoleOptions {
  ConsoleKind kind = ConsoleKind::kNull;
  std::string path{};      // kFile; kUnix: listening socket, mode 0600
  bool append = false;     // kFile: keep what the file has
  std::string log_file{};  // empty: none
  bool log_append = true;
  int input_fd = 0;  // kStdio; borrowed, their flags are never changed
  int output_fd = 1;
};

class ConsoleLog;

class Console final : private ConsoleFrontend {
 public:
  // Ctrl-] on a terminal asks to end the VM, as in `virsh console`.
  static constexpr uint8_t kEscapeKey = 0x1d;
  static constexpr std::chrono::milliseconds kCollect{1};
  static constexpr size_t kMaxBacklog = 2 * Serial16550::kReadyLimit;

  // `loop` is borrowed for the life of the console. `on_escape` may be empty. Files are opened, the
  // socket listens and the terminal is raw when this returns.
  static Result<std::unique_ptr<Console>> create(EventLoop& loop, const ConsoleOptions& options,
                                                 std::function<void()> on_escape);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  // `serial` is borrowed until detach(). After a reset of the machine the console is attached to
  // the new one.
  Result<void> attach(Serial16550& serial);
  // Once no vCPU runs any more: true when the ring's content is written and read. Until then the
  // loop goes on with it.
  bool drained();
  // Says how much is lost, if it was not drained.
  void give_up_rest();
  void detach();  // the ring's content is lost

  // Gets every byte that the guest writes, once.
  void set_observer(std::function<void(std::span<const uint8_t>)> observer) {
    observer_ = std::move(observer);
  }

  // The pty's or socket's path; empty for the others.
  const std::string& path() const;

 private:
  Console(EventLoop& loop, std::function<void()> on_escape);
  Result<void> open(const ConsoleOptions& options);
  void on_output_ready();
  void look_for_more();
  void write_pending();
  size_t write_to_backend(const RingView& pending);
  void skip_backlog(const RingView& pending, size_t& done);

  size_t input_space() override;
  void on_input(std::span<const uint8_t> data) override;
  void on_output_possible() override;
  void on_escape() override;

  EventLoop& loop_;
  const std::function<void()> escape_handler_;
  std::function<void(std::span<const uint8_t>)> observer_;
  std::unique_ptr<ConsoleLog> log_;
  Serial16550* serial_ = nullptr;
  size_t seen_ = 0;     // bytes at the front of the ring that log file and observer have had
  uint64_t timer_ = 0;  // 0: none
  bool writing_ = false;
  bool skip_reported_ = false;
  bool drop_reported_ = false;
  std::unique_ptr<ConsoleBackend> backend_;  // last: it calls the functions above
};

}  // namespace hull::devices
