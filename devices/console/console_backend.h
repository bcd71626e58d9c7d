// What stands behind the console: a terminal, a file, a pty, a socket, or nothing. On the
// loop's thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "devices/console/console_io.h"

namespace hull::devices {

struct ConsoleOptions;

// The console as its back end sees it.
class ConsoleFrontend {
 public:
  virtual size_t input_space() = 0;  // 0: resume_input() is called when there is room
  virtual void on_input(std::span<const uint8_t> data) = 0;  // at most input_space() bytes
  virtual void on_output_possible() = 0;
  virtual void on_escape() = 0;

 protected:
  ~ConsoleFrontend() = default;
};

// This class is the null back end: nothing comes in, what goes out is dropped. The others set a
// reader and a writer while somebody is at the other end.
class ConsoleBackend : private FdReader::Owner, private FdWriter::Owner {
 public:
  ConsoleBackend(EventLoop& loop, ConsoleFrontend& frontend) : loop_(loop), frontend_(frontend) {}
  virtual ~ConsoleBackend() = default;
  ConsoleBackend(const ConsoleBackend&) = delete;
  ConsoleBackend& operator=(const ConsoleBackend&) = delete;

  // How many bytes are done with: written, or dropped because nobody is there. After less than all
  // on_output_possible() follows.
  size_t write(std::span<const uint8_t> data);
  void resume_input();
  // True while the other side has not read what it was sent and closing would destroy it.
  virtual bool unread() const { return false; }
  const std::string& path() const { return path_; }

 protected:
  size_t input_space() override { return frontend_.input_space(); }
  void on_input(std::span<const uint8_t> data) override { frontend_.on_input(data); }
  void on_input_end() override { reader_.reset(); }
  void on_output_possible() final { frontend_.on_output_possible(); }
  void on_output_end(int error) override;
  void on_output_lost(int error) override;

  void start_reader(NonBlockingFd fd);
  void start_writer(NonBlockingFd fd);

  EventLoop& loop_;
  ConsoleFrontend& frontend_;
  std::string path_;  // where others attach; empty if they cannot
  std::optional<FdReader> reader_;
  std::optional<FdWriter> writer_;

 private:
  bool loss_reported_ = false;
};

Result<std::unique_ptr<ConsoleBackend>> open_stdio_backend(EventLoop& loop,
                                                           ConsoleFrontend& frontend,
                                                           const ConsoleOptions& options);
Result<std::unique_ptr<ConsoleBackend>> open_file_backend(EventLoop& loop,
                                                          ConsoleFrontend& frontend,
                                                          const ConsoleOptions& options);
Result<std::unique_ptr<ConsoleBackend>> open_pty_backend(EventLoop& loop,
                                                         ConsoleFrontend& frontend);
Result<std::unique_ptr<ConsoleBackend>> open_unix_backend(EventLoop& loop,
                                                          ConsoleFrontend& frontend,
                                                          const ConsoleOptions& options);

}  // namespace hull::devices
