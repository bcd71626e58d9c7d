#include "devices/console/console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "tests/support/console_fixture.h"

namespace hull::devices {
namespace {

class ConsoleTest : public hull::testing::ConsoleFixture {
 protected:
  // A console between two pipes, as under a CI runner.
  void open_pipes(ConsoleOptions options = {}) {
    int in[2], out[2];
    ASSERT_EQ(::pipe2(in, O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(out, O_CLOEXEC), 0);
    ASSERT_EQ(::fcntl(out[0], F_SETFL, O_NONBLOCK), 0);  // the test's own end
    host_input_.reset(in[1]);
    inherited_input_.reset(in[0]);
    host_output_.reset(out[0]);
    inherited_output_.reset(out[1]);
    options.kind = ConsoleKind::kStdio;
    options.input_fd = in[0];
    options.output_fd = out[1];
    open(options);
  }
  size_t read_host_output() {
    std::array<char, 65536> buffer;
    const ssize_t got = ::read(host_output_.get(), buffer.data(), buffer.size());
    if (got > 0) output_.append(buffer.data(), static_cast<size_t>(got));
    return got > 0 ? static_cast<size_t>(got) : 0;
  }

  UniqueFd host_input_, inherited_input_, host_output_, inherited_output_;
  std::string output_;
};

TEST_F(ConsoleTest, OutputReachesPipe) {
  open_pipes();
  guest_writes("hello\n");
  ASSERT_TRUE(run_until([&] { return serial_->waiting_output_bytes() == 0; }));
  read_host_output();
  EXPECT_EQ(output_, "hello\n");
}

TEST_F(ConsoleTest, InheritedDescriptorsKeepTheirFlags) {
  open_pipes();
  guest_writes("x");
  ASSERT_TRUE(run_until([&] { return serial_->waiting_output_bytes() == 0; }));
  EXPECT_EQ(::fcntl(inherited_output_.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(::fcntl(inherited_input_.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(ConsoleTest, InputReachesGuest) {
  open_pipes();
  ASSERT_EQ(::write(host_input_.get(), "ls\n", 3), 3);
  std::string read;
  EXPECT_TRUE(run_until([&] { return (read += guest_reads()) == "ls\n"; }));
}

TEST_F(ConsoleTest, ControlBracketOnPipeIsData) {
  open_pipes();
  ASSERT_EQ(::write(host_input_.get(), "\x1d", 1), 1);
  std::string read;
  EXPECT_TRUE(run_until([&] { return (read += guest_reads()) == "\x1d"; }));
  EXPECT_EQ(escapes_, 0u);
}

TEST_F(ConsoleTest, LargeInputWaitsForGuestAndArrivesWhole) {
  open_pipes();
  std::string sent;
  for (int i = 0; i < 30000; ++i) sent += static_cast<char>('a' + i % 26);
  ASSERT_EQ(::write(host_input_.get(), sent.data(), sent.size()),
            static_cast<ssize_t>(sent.size()));
  ASSERT_TRUE(run_until([&] { return serial_->input_space() == 0; }));
  EXPECT_LT(idle_cost(), std::chrono::milliseconds(150));  // no spinning while nobody reads
  std::string read;
  EXPECT_TRUE(run_until([&] {
    read += guest_reads();
    return read.size() >= sent.size();
  }));
  EXPECT_EQ(read, sent);
}

TEST_F(ConsoleTest, InputFromRegularFileArrivesWhole) {
  const std::string sent(20000, 'z');
  std::ofstream(path("input")) << sent;
  const UniqueFd file = std::move(*open_file(path("input"), O_RDONLY));
  const UniqueFd null = std::move(*open_file("/dev/null", O_WRONLY));
  open({.kind = ConsoleKind::kStdio, .input_fd = file.get(), .output_fd = null.get()});
  std::string read;
  EXPECT_TRUE(run_until([&] { return (read += guest_reads()).size() >= sent.size(); }));
  EXPECT_EQ(read, sent);
}

TEST_F(ConsoleTest, FullPipeStopsGuestAndLosesNothing) {
  open_pipes({.log_file = path("log")});
  std::string sent;
  while (guest_may_write()) {
    const std::string line = fmt::format("line {}\n", sent.size()).substr(0, 16);
    sent += line;
    guest_writes(line);
    if (sent.size() % 1000 < 16) run_until([] { return true; });
    ASSERT_LT(sent.size(), 1u << 20);
  }
  EXPECT_EQ(content(path("log")), sent.substr(0, content(path("log")).size()));
  EXPECT_TRUE(run_until([&] {
    read_host_output();
    return output_.size() >= sent.size();
  }));
  EXPECT_EQ(output_, sent);
  EXPECT_TRUE(guest_may_write());
  EXPECT_EQ(content(path("log")), sent);
}

TEST_F(ConsoleTest, GuestThatIgnoresFullPipeLosesNothingInLog) {
  open_pipes({.log_file = path("log")});
  std::string sent;
  for (int i = 0; i < 10000; ++i) {
    const std::string line = fmt::format("a line of output with number {:06}\n", i);
    sent += line;
    guest_writes(line);
    if (i % 500 == 0) run_until([] { return true; });
  }
  ASSERT_TRUE(run_until([&] { return content(path("log")).size() == sent.size(); }));
  EXPECT_EQ(content(path("log")), sent);
  EXPECT_EQ(serial_->dropped_output_bytes(), 0u);
}

TEST_F(ConsoleTest, ClosedStdoutIsGivenUp) {
  open_pipes({.log_file = path("log")});
  host_output_.reset();
  guest_writes("one");
  ASSERT_TRUE(run_until([&] { return serial_->waiting_output_bytes() == 0; }));
  guest_writes("two");
  ASSERT_TRUE(run_until([&] { return content(path("log")) == "onetwo"; }));
  EXPECT_TRUE(run_until([&] { return serial_->waiting_output_bytes() == 0; }));
}

TEST_F(ConsoleTest, ReaderThatDiesWhilePipeIsFullFreesGuest) {
  open_pipes();
  while (guest_may_write()) {
    guest_writes(std::string(16, 'x'));
    if (serial_->waiting_output_bytes() > 8192) run_until([] { return true; });
  }
  host_output_.reset();
  EXPECT_TRUE(run_until([&] { return guest_may_write(); }));
}

TEST_F(ConsoleTest, NoDescriptorsAtAllIsSurvived) {
  open({.kind = ConsoleKind::kStdio, .input_fd = 1000, .output_fd = 1001});
  guest_writes("nobody hears");
  EXPECT_TRUE(run_until([&] { return serial_->waiting_output_bytes() == 0; }));
}

TEST_F(ConsoleTest, FlushWritesWhatIsLeft) {
  open({.kind = ConsoleKind::kFile, .path = path("out"), .log_file = path("log")});
  guest_writes("Power down");
  flush();
  EXPECT_EQ(content(path("out")), "Power down");
  EXPECT_EQ(content(path("log")), "Power down");
}

TEST_F(ConsoleTest, FlushGivesUpOnBlockedPipe) {
  open_pipes({.log_file = path("log")});
  const std::string sent(100 * 1024, 'x');
  guest_writes(sent);
  flush(std::chrono::milliseconds(20));
  EXPECT_NE(serial_->waiting_output_bytes(), 0u);
  EXPECT_EQ(content(path("log")), sent);
}

TEST_F(ConsoleTest, FileIsTruncatedOrAppended) {
  std::ofstream(path("out")) << "old";
  open({.kind = ConsoleKind::kFile, .path = path("out"), .append = true});
  guest_writes("new");
  flush();
  EXPECT_EQ(content(path("out")), "oldnew");
  console_.reset();
  open({.kind = ConsoleKind::kFile, .path = path("out")});
  guest_writes("fresh");
  flush();
  EXPECT_EQ(content(path("out")), "fresh");
}

TEST_F(ConsoleTest, SymbolicLinkIsRefused) {
  std::ofstream(path("victim")) << "precious";
  std::filesystem::create_symlink(path("victim"), path("link"));
  for (const ConsoleOptions& options :
       {ConsoleOptions{.kind = ConsoleKind::kFile, .path = path("link")},
        ConsoleOptions{.kind = ConsoleKind::kNull, .log_file = path("link")}}) {
    EXPECT_FALSE(Console::create(loop_, options, {}));
  }
  EXPECT_EQ(content(path("victim")), "precious");
}

TEST_F(ConsoleTest, NewFilesArePrivate) {
  open({.kind = ConsoleKind::kFile, .path = path("out"), .log_file = path("log")});
  for (const char* name : {"out", "log"}) {
    struct stat info;
    ASSERT_EQ(::stat(path(name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
  }
}

TEST_F(ConsoleTest, FullDiskIsReportedOnceAndSurvived) {
  open({.kind = ConsoleKind::kFile, .path = "/dev/full", .log_file = "/dev/full"});
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 5; ++i) {
    guest_writes("lost");
    flush();
  }
  EXPECT_EQ(serial_->waiting_output_bytes(), 0u);
  console_.reset();
  const std::string messages = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::ranges::count(messages, '\n'), 3) << messages;
  EXPECT_NE(messages.find("20 bytes were lost"), std::string::npos) << messages;
}

TEST_F(ConsoleTest, NewSerialPortAfterResetGoesOn) {
  open({.kind = ConsoleKind::kFile, .path = path("out")});
  guest_writes("first");
  flush();
  console_->detach();
  serial_ = std::move(*Serial16550::create("serial0", line_));
  guest_writes("second");
  ASSERT_TRUE(console_->attach(*serial_));
  guest_writes("third");
  ASSERT_TRUE(run_until([&] { return serial_->waiting_output_bytes() == 0; }));
  EXPECT_EQ(content(path("out")), "firstsecondthird");
}

TEST_F(ConsoleTest, NullDropsEverything) {
  open({});
  guest_writes("x");
  EXPECT_TRUE(run_until([&] { return serial_->waiting_output_bytes() == 0; }));
  EXPECT_EQ(console_->path(), "");
}

}  // namespace
}  // namespace hull::devices
