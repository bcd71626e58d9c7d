// A console, a serial port and an event loop in one thread, and a directory for files.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>

#include "devices/console/console.h"
#include "devices/serial_16550.h"
#include "tests/support/fake_lines.h"
#include "tests/support/port_access.h"

namespace hull::testing {

class ConsoleFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);  // as every program with a console does
    char name[] = "/tmp/hull-console-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    serial_ = std::move(*devices::Serial16550::create("serial0", line_));
  }
  void TearDown() override {
    console_.reset();
    std::filesystem::remove_all(directory_);
  }

  void open(const devices::ConsoleOptions& options) {
    auto console = devices::Console::create(loop_, options, [this] { ++escapes_; });
    ASSERT_TRUE(console) << console.error().message();
    console_ = std::move(*console);
    ASSERT_TRUE(console_->attach(*serial_));
  }

  // Runs the event loop until `done` or for five seconds; says whether it was done.
  bool run_until(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    bool was_done = false;
    std::function<void()> check = [&] {
      was_done = done();
      if (was_done || std::chrono::steady_clock::now() > deadline)
        loop_.stop();
      else
        loop_.call_after(std::chrono::milliseconds(1), check);
    };
    loop_.call_after(std::chrono::milliseconds(0), check);
    EXPECT_TRUE(loop_.run());
    return was_done;
  }

  // What a domain does at its end.
  void flush(std::chrono::milliseconds timeout = std::chrono::seconds(3)) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    run_until([&] { return console_->drained() || std::chrono::steady_clock::now() > deadline; });
    console_->give_up_rest();
  }

  void guest_writes(std::string_view text) {
    for (const char c : text) out8(*serial_, 0, static_cast<uint8_t>(c));
  }
  bool guest_may_write() { return (in8(*serial_, 5) & 0x20) != 0; }
  // Everything that waits in the receiver.
  std::string guest_reads() {
    std::string text;
    while ((in8(*serial_, 5) & 1) != 0) text += static_cast<char>(in8(*serial_, 0));
    return text;
  }

  // CPU time of this process over 300 ms of an idle loop.
  std::chrono::microseconds idle_cost() {
    const auto cpu_time = [] {
      rusage usage;
      ::getrusage(RUSAGE_SELF, &usage);
      return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
             std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    };
    const auto before = cpu_time();
    loop_.call_after(std::chrono::milliseconds(300), [this] { loop_.stop(); });
    EXPECT_TRUE(loop_.run());
    return cpu_time() - before;
  }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::string directory_;
  FakeLine line_;
  EventLoop loop_ = std::move(*EventLoop::create());
  std::unique_ptr<devices::Serial16550> serial_;
  unsigned escapes_ = 0;
  std::unique_ptr<devices::Console> console_;
};

}  // namespace hull::testing
