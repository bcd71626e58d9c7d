// How the console reads and writes descriptors without ever blocking. On the
// loop's thread.
#pragma once

#include <cstdint>
#include <span>

#include "base/event_loop.h"
#include "base/non_blocking_fd.h"

namespace hull::devices {

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
