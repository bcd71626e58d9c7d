#include "devices/console/console_io.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/log.h"

namespace hull::devices {

namespace {

constexpr size_t kReadSize = 4096;

// Full disks may have room again; what is gone stays gone.
bool may_recover(int error) {
  return error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO;
}

}  // namespace

FdReader::FdReader(EventLoop& loop, NonBlockingFd fd, Owner& owner)
    : loop_(loop), fd_(std::move(fd)), owner_(owner) {}

FdReader::~FdReader() { watch(false); }

void FdReader::resume() {
  if (pollable_ && !watched_ && owner_.input_space() != 0) watch(true);
  if (!pollable_) {
    while (read_once()) {
    }
  }
}

void FdReader::watch(bool on) {
  if (on == watched_) return;
  watched_ = on;
  if (!on) return loop_.remove(fd_.fd());
  if (loop_.add(fd_.fd(), EPOLLIN, [this](uint32_t) { read_once(); })) return;
  watched_ = false;
  pollable_ = false;
}

bool FdReader::read_once() {
  std::array<uint8_t, kReadSize> buffer;
  const size_t space = std::min(owner_.input_space(), buffer.size());
  if (space == 0) {
    watch(false);
    return false;
  }
  const ssize_t got = fd_.read({buffer.data(), space});
  if (got == -EAGAIN) return false;
  if (got <= 0) {
    watch(false);
    owner_.on_input_end();
    return false;
  }
  owner_.on_input({buffer.data(), static_cast<size_t>(got)});
  return true;
}

FdWriter::FdWriter(EventLoop& loop, NonBlockingFd fd, Owner& owner)
    : loop_(loop), fd_(std::move(fd)), owner_(owner) {}

FdWriter::~FdWriter() {
  if (blocked_) loop_.remove(fd_.fd());
}

size_t FdWriter::write(std::span<const uint8_t> data) {
  size_t done = 0;
  while (done < data.size() && !blocked_) {
    const ssize_t put = fd_.write(data.subspan(done));
    if (put == -EAGAIN) {
      block();
    } else if (put >= 0) {
      done += static_cast<size_t>(put);
    } else {
      const int error = static_cast<int>(-put);
      if (may_recover(error))
        owner_.on_output_lost(error);
      else
        owner_.on_output_end(error);
      return data.size();
    }
  }
  return done;
}

void FdWriter::block() {
  blocked_ = true;
  // Whatever blocks can be polled; should epoll refuse for want of memory, the next flush retries.
  if (!loop_.add(fd_.fd(), EPOLLOUT, [this](uint32_t events) { on_event(events); }))
    LOG_WARN("console: cannot wait for the output; it stands still");
}

void FdWriter::on_event(uint32_t events) {
  if (!blocked_) return;
  blocked_ = false;
  loop_.remove(fd_.fd());
  // A pty's master that nobody has open is hung up and not writable at the same time.
  if ((events & (EPOLLHUP | EPOLLERR)) != 0)
    owner_.on_output_end(EPIPE);
  else
    owner_.on_output_possible();
}

}  // namespace hull::devices
