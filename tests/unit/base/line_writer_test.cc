#include "base/line_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <thread>

#include "tests/support/pseudo_terminal.h"
#include "tests/support/refused_threads.h"
#include "tests/support/temporary_directory.h"

namespace hull {
namespace {

using std::chrono::milliseconds;

struct Pipe {
  UniqueFd reader;
  UniqueFd writer;
};

Pipe make_pipe() {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Pipe make_sockets() {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// What comes until it is silent for a while, or until `end` was seen.
std::string read_until(int fd, std::string_view end) {
  std::string text;
  std::array<char, 65536> buffer;
  while (end.empty() || text.find(end) == text.npos) {
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, end.empty() ? 200 : 30'000) <= 0) break;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got <= 0) break;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
  return text;
}

size_t lines_of(const std::string& text) {
  return static_cast<size_t>(std::ranges::count(text, '\n'));
}

std::string line(size_t number) { return "line " + std::to_string(number) + "\n"; }

// More than any pipe and the writer keep, and yet each call returns.
void write_far_too_much(LineWriter& writer) {
  const std::string text(1023, 'x');
  for (int i = 0; i < 2048; ++i) writer.write(text + '\n');
}

TEST(LineWriter, LinesArriveInOrder) {
  const Pipe pipe = make_pipe();
  LineWriter writer(pipe.writer.get());
  writer.write("one\n");
  writer.write("two\n");
  EXPECT_EQ(read_until(pipe.reader.get(), "two\n"), "one\ntwo\n");
}

TEST(LineWriter, FileIsAppendedToWhereItStands) {
  const testing::TemporaryDirectory directory;
  const UniqueFd file = open_file(directory / "log", O_RDWR | O_CREAT).value();
  ASSERT_EQ(::write(file.get(), "before\n", 7), 7);
  LineWriter writer(file.get());
  writer.write("after\n");
  std::string text(32, '\0');
  text.resize(static_cast<size_t>(::pread(file.get(), text.data(), text.size(), 0)));
  EXPECT_EQ(text, "before\nafter\n");
}

TEST(LineWriter, NobodyReadsAndNobodyWaits) {
  for (const bool socket : {false, true}) {
    const Pipe pipe = socket ? make_sockets() : make_pipe();
    LineWriter writer(pipe.writer.get());
    write_far_too_much(writer);
    EXPECT_EQ(::fcntl(pipe.writer.get(), F_GETFL) & O_NONBLOCK, 0) << "flags are shared";
  }
}

TEST(LineWriter, TerminalThatNobodyReadsIsNoHindrance) {
  const testing::PseudoTerminal pair;
  LineWriter writer(pair.terminal.get());
  write_far_too_much(writer);
}

TEST(LineWriter, WhatWasKeptArrivesWhenItIsReadAndTheLossIsSaid) {
  const Pipe pipe = make_pipe();
  LineWriter writer(pipe.writer.get());
  write_far_too_much(writer);
  const std::string text = read_until(pipe.reader.get(), "");
  EXPECT_GE(text.size(), LineWriter::kMaxKeptBytes) << "by itself";
  writer.write("last\n");
  const std::string rest = read_until(pipe.reader.get(), "last\n");
  EXPECT_EQ(rest, "warning: " + std::to_string(2048 - lines_of(text)) +
                      " messages were lost: nobody took them\nlast\n");
}

TEST(LineWriter, WithoutAThreadTheNextLineBringsTheRest) {
  const Pipe pipe = make_pipe();
  LineWriter writer(pipe.writer.get());
  const testing::RefusedThreads refused;
  constexpr size_t kLines = 10'000;
  for (size_t i = 0; i < kLines; ++i) writer.write(line(i));
  std::string text = read_until(pipe.reader.get(), "");
  EXPECT_LT(lines_of(text), kLines);
  writer.write("last\n");
  text += read_until(pipe.reader.get(), "last\n");
  EXPECT_EQ(lines_of(text), kLines + 1);
}

TEST(LineWriter, FlushWaitsForASlowReaderButNotForNone) {
  const Pipe pipe = make_pipe();
  LineWriter writer(pipe.writer.get());
  constexpr size_t kLines = 10'000;
  {
    const testing::RefusedThreads refused;
    for (size_t i = 0; i < kLines; ++i) writer.write(line(i));
  }
  writer.flush(milliseconds(30));
  std::string text;
  std::thread reader([&] { text = read_until(pipe.reader.get(), line(kLines - 1)); });
  writer.flush(milliseconds(60'000));
  reader.join();
  EXPECT_EQ(lines_of(text), kLines);
}

TEST(LineWriter, GoneReaderLosesLinesAndNothingElse) {
  ::signal(SIGPIPE, SIG_IGN);
  Pipe pipe = make_pipe();
  LineWriter writer(pipe.writer.get());
  writer.write("one\n");
  pipe.reader.reset();
  write_far_too_much(writer);
  writer.flush(milliseconds(60'000));
}

TEST(LineWriter, FollowsDup2) {
  const Pipe first = make_pipe();
  const Pipe second = make_pipe();
  const UniqueFd fd(::fcntl(first.writer.get(), F_DUPFD_CLOEXEC, 0));
  LineWriter writer(fd.get());
  writer.write("one\n");
  ASSERT_GE(::dup3(second.writer.get(), fd.get(), O_CLOEXEC), 0);
  writer.write("two\n");
  EXPECT_EQ(read_until(first.reader.get(), "\n"), "one\n");
  EXPECT_EQ(read_until(second.reader.get(), "\n"), "two\n");
}

TEST(LineWriter, ClosedDescriptorIsNoHindrance) {
  LineWriter writer(-1);
  write_far_too_much(writer);
  writer.flush(milliseconds(60'000));
}

}  // namespace
}  // namespace hull
