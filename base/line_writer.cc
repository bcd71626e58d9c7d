#include "base/line_writer.h"

#include <fmt/core.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <thread>

namespace hull {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How often the thread looks whether it is wanted any more, while nobody reads.
constexpr milliseconds kLook{100};

void wait_for_room(int fd, milliseconds limit) {
  pollfd entry{.fd = fd, .events = POLLOUT, .revents = 0};
  ::poll(&entry, 1, static_cast<int>(std::max<int64_t>(limit.count(), 0)));
}

bool is_same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_rdev == b.st_rdev;
}

}  // namespace

LineWriter::~LineWriter() {
  Thread waiter;
  {
    const MutexLock lock(mutex_);
    quit_ = true;
    waiter = std::move(waiter_);
  }
}

void LineWriter::write(std::string line) {
  const MutexLock lock(mutex_);
  say_what_was_lost(line.size());
  keep(std::move(line));
  write_kept();
  if (!kept_.empty()) start_waiting();
}

// If there is room for that and for `more_bytes`.
void LineWriter::say_what_was_lost(size_t more_bytes) {
  if (lost_ == 0) return;
  std::string note = fmt::format("warning: {} messages were lost: nobody took them\n", lost_);
  if (note.size() + more_bytes > kMaxKeptBytes - kept_bytes_) return;
  lost_ = 0;
  keep(std::move(note));
}

void LineWriter::keep(std::string line) {
  if (line.size() > kMaxKeptBytes - kept_bytes_) {
    ++lost_;
    return;
  }
  kept_bytes_ += line.size();
  kept_.push_back(std::move(line));
}

void LineWriter::write_kept() {
  look_at_descriptor();
  while (!kept_.empty()) {
    const std::string& line = kept_.front();
    const auto* const bytes = reinterpret_cast<const uint8_t*>(line.data());
    const ssize_t put = out_.write(std::span(bytes, line.size()).subspan(written_));
    if (put == -EAGAIN) return;
    if (put <= 0) ++lost_;
    written_ = put <= 0 ? line.size() : written_ + static_cast<size_t>(put);
    if (written_ < line.size()) continue;
    kept_bytes_ -= line.size();
    kept_.pop_front();
    written_ = 0;
  }
}

void LineWriter::look_at_descriptor() {
  struct stat now{};
  if (::fstat(fd_, &now) < 0) {
    out_ = NonBlockingFd();
    out_is_ = {};
    return;
  }
  if (out_.fd() >= 0 && is_same_file(now, out_is_)) return;
  auto opened = NonBlockingFd::from_inherited(fd_, O_WRONLY);
  out_ = opened ? *std::move(opened) : NonBlockingFd();
  out_is_ = now;
}

// Without a thread the lines wait for the next one, or for flush().
void LineWriter::start_waiting() {
  if (waiting_ || quit_) return;
  auto started = start_thread(ThreadKind::kLog, "log", [this] { wait_and_write(); });
  if (!started) return;
  waiting_ = true;
  waiter_ = *std::move(started);  // joins the one before, which has nothing more to do
}

void LineWriter::wait_and_write() {
  bool took_something = true;
  for (;;) {
    // What says that it has room and then takes nothing would make this a busy loop.
    if (took_something)
      wait_for_room(fd_, kLook);
    else
      std::this_thread::sleep_for(kLook);
    const MutexLock lock(mutex_);
    const size_t left_before = kept_bytes_ - written_;
    write_kept();
    took_something = kept_bytes_ - written_ != left_before;
    if (!kept_.empty() && !quit_) continue;
    waiting_ = false;
    return;
  }
}

void LineWriter::flush(milliseconds limit) {
  const auto end = steady_clock::now() + limit;
  auto patience_ends = steady_clock::now() + limit / 3;
  size_t left_before = SIZE_MAX;
  for (;;) {
    {
      const MutexLock lock(mutex_);
      say_what_was_lost(0);
      write_kept();
      if (kept_.empty()) return;
      const size_t left = kept_bytes_ - written_;
      if (left < left_before) patience_ends = steady_clock::now() + limit / 3;
      left_before = left;
    }
    const auto until = std::min(end, patience_ends);
    const auto rest = std::chrono::ceil<milliseconds>(until - steady_clock::now());
    if (rest.count() <= 0) return;
    wait_for_room(fd_, rest);
  }
}

}  // namespace hull
