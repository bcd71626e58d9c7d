// A pseudo-terminal that people attach to (`screen /dev/pts/5`) and leave as they like.
//
// While nobody has it open the master reports a hang-up, permanently; it is then not watched, but
// looked at every kAttachPoll. Output is dropped meanwhile.
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "devices/console/console.h"
#include "devices/console/console_backend.h"

namespace hull::devices {

namespace {

constexpr std::chrono::milliseconds kAttachPoll{200};

class PtyBackend final : public ConsoleBackend {
 public:
  PtyBackend(EventLoop& loop, ConsoleFrontend& frontend, UniqueFd master, std::string path)
      : ConsoleBackend(loop, frontend), master_(std::move(master)) {
    path_ = std::move(path);
    look_for_somebody();
  }
  ~PtyBackend() override { loop_.cancel(timer_); }

  // Closing the master throws away what the other side has not read yet.
  bool unread() const override {
    if (!writer_) return false;
    const UniqueFd peer(::ioctl(master_.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    // poll and not FIONREAD, which does not count what is still on its way between the two ends.
    pollfd entry{.fd = peer.get(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & POLLIN) != 0;
  }

 private:
  bool somebody_is_attached() const {
    pollfd entry{.fd = master_.get(), .events = 0, .revents = 0};
    ::poll(&entry, 1, 0);
    return (entry.revents & POLLHUP) == 0;
  }

  void look_for_somebody() {
    timer_ = 0;
    UniqueFd reading, writing;
    if (somebody_is_attached()) {
      reading.reset(::fcntl(master_.get(), F_DUPFD_CLOEXEC, 0));
      writing.reset(::fcntl(master_.get(), F_DUPFD_CLOEXEC, 0));
    }
    if (!reading.valid() || !writing.valid()) {
      timer_ = loop_.call_after(kAttachPoll, [this] { look_for_somebody(); });
      return;
    }
    start_writer(NonBlockingFd(std::move(writing)));
    start_reader(NonBlockingFd(std::move(reading)));
    reader_->resume();
  }

  void on_gone() {
    reader_.reset();
    writer_.reset();
    if (timer_ == 0) timer_ = loop_.call_after(kAttachPoll, [this] { look_for_somebody(); });
    frontend_.on_output_possible();  // by dropping it
  }
  void on_input_end() override { on_gone(); }
  void on_output_end(int) override { on_gone(); }

  const UniqueFd master_;
  uint64_t timer_ = 0;
};

}  // namespace

Result<std::unique_ptr<ConsoleBackend>> open_pty_backend(EventLoop& loop,
                                                         ConsoleFrontend& frontend) {
  UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!master.valid() || ::grantpt(master.get()) < 0 || ::unlockpt(master.get()) < 0)
    return std::unexpected(Error::from_errno("console: create a pseudo-terminal"));
  char name[64];
  if (const int error = ::ptsname_r(master.get(), name, sizeof name); error != 0)
    return std::unexpected(Error::from_errno("console: name of the pseudo-terminal", error));
  // Opened and closed once: sets raw mode, and from now on the master tells when nobody is there.
  const UniqueFd peer = TRY(open_file(name, O_RDWR | O_NOCTTY).with_context("console"));
  termios settings;
  if (::tcgetattr(peer.get(), &settings) < 0)
    return std::unexpected(Error::from_errno("console: read the pseudo-terminal's settings"));
  ::cfmakeraw(&settings);
  if (::tcsetattr(peer.get(), TCSANOW, &settings) < 0)
    return std::unexpected(Error::from_errno("console: set the pseudo-terminal to raw mode"));
  return std::make_unique<PtyBackend>(loop, frontend, std::move(master), name);
}

}  // namespace hull::devices
