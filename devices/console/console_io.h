// Descriptors that the console reads and writes without ever blocking, whoever else has them open.
// Main thread.
#pragma once

#include <cstdint>
#include <span>

#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace hull::devices {

class NonBlockingFd {
 public:
  NonBlockingFd() = default;
  // For a descriptor of ours that has O_NONBLOCK set, or that never blocks (a regular file).
  explicit NonBlockingFd(UniqueFd fd) : fd_(std::move(fd)) {}
  // For an inherited one, whose flags are shared with other processes and stay as they are:
  // terminals and pipes are opened anew; where that is not possible, poll(2) goes before every
  // small transfer. `access` is O_RDONLY or O_WRONLY.
  static Result<NonBlockingFd> from_inherited(int fd, int access);

  // The count, 0 at end of file, or a negative errno, -EAGAIN if it would block.
  ssize_t read(std::span<uint8_t> data) const;
  ssize_t write(std::span<const uint8_t> data) const;
  int fd() const { return fd_.get(); }

 private:
  enum class Mode : uint8_t { kPlain, kSocket, kPollFirst };

  NonBlockingFd(UniqueFd fd, Mode mode, size_t chunk)
      : fd_(std::move(fd)), mode_(mode), chunk_(chunk) {}
  bool is_ready(short events) const;

  UniqueFd fd_;
  Mode mode_ = Mode::kPlain;
  size_t chunk_ = SIZE_MAX;  // kPollFirst: what can be written without blocking once it is ready
};

// Reads while the guest has room. Not watched at all while it has none: a hang-up would spin.
class FdReader {
 public:
  class Owner {
   public:
    virtual size_t input_space() = 0;
    virtual void on_input(std::span<const uint8_t> data) = 0;  // at most input_space() bytes
    virtual void on_input_end() = 0;  // end of file or an error; may destroy the reader
   protected:
    ~Owner() = default;
  };

  FdReader(EventLoop& loop, NonBlockingFd fd, Owner& owner);
  ~FdReader();
  FdReader(const FdReader&) = delete;
  FdReader& operator=(const FdReader&) = delete;

  void resume();  // there is room (again)
  int fd() const { return fd_.fd(); }

 private:
  bool read_once();  // false: no room, nothing there, or the end
  void watch(bool on);

  EventLoop& loop_;
  NonBlockingFd fd_;
  Owner& owner_;
  bool watched_ = false;
  bool pollable_ = true;  // regular files and /dev/null are not
};

// Writes as much as the other side takes.
class FdWriter {
 public:
  class Owner {
   public:
    virtual void on_output_possible() = 0;       // after write() took less than everything
    virtual void on_output_end(int error) = 0;   // nothing more can be written; may destroy it
    virtual void on_output_lost(int error) = 0;  // bytes were dropped (full disk); it goes on
   protected:
    ~Owner() = default;
  };

  FdWriter(EventLoop& loop, NonBlockingFd fd, Owner& owner);
  ~FdWriter();
  FdWriter(const FdWriter&) = delete;
  FdWriter& operator=(const FdWriter&) = delete;

  // How many bytes are done with: written, or lost with a call to the owner.
  size_t write(std::span<const uint8_t> data);
  // True after write() took less than everything, until on_event().
  bool blocked() const { return blocked_; }
  // What epoll or poll reported for fd().
  void on_event(uint32_t events);
  int fd() const { return fd_.fd(); }

 private:
  void block();

  EventLoop& loop_;
  NonBlockingFd fd_;
  Owner& owner_;
  bool blocked_ = false;
};

}  // namespace hull::devices
