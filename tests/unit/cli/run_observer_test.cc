#include "tools/hull/run_observer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/log.h"

namespace hull::cli {
namespace {

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

TEST(WordFinder, FindsAWordHoweverItIsCut) {
  const std::string text = "xxpanicyy";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    WordFinder finder("panic");
    const bool first = finder.found_in(bytes_of(text.substr(0, cut)));
    const bool second = finder.found_in(bytes_of(text.substr(cut)));
    EXPECT_TRUE(first != second) << cut;
  }
}

TEST(WordFinder, SingleBytesAndAFalseStart) {
  WordFinder finder("panic");
  int found = 0;
  for (const char c : std::string("papanic, pani, c, panic"))
    found += finder.found_in(bytes_of({&c, 1})) ? 1 : 0;
  EXPECT_EQ(found, 2);
}

// Both ends of a pipe that holds one page.
struct Pipe {
  Pipe() {
    int fds[2];
    EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
    read = UniqueFd(fds[0]);
    write = UniqueFd(fds[1]);
    ::fcntl(write.get(), F_SETPIPE_SZ, 4096);
  }
  std::string take() const {
    std::string text(65536, '\0');
    const ssize_t length = ::read(read.get(), text.data(), text.size());
    text.resize(static_cast<size_t>(std::max<ssize_t>(length, 0)));
    return text;
  }
  std::string name() const { return fmt::format("fd:{}", write.get()); }
  UniqueFd read, write;
};

// What a person reads if the guest runs for a while, having printed `output`.
std::string said_about(std::string_view output, bool speaks) {
  ::testing::internal::CaptureStderr();
  auto loop = EventLoop::create();
  RunObserver observer({.name = "web",
                        .log_file = "/log",
                        .speaks = speaks,
                        .has_keyboard = true,
                        .grace = std::chrono::seconds(10),
                        .silence = std::chrono::milliseconds(1)},
                       nullptr);
  observer.on_state(*loop, vmm::DomainState::kRunning, "");
  if (!output.empty()) observer.on_console_output(bytes_of(output));
  loop->call_after(std::chrono::milliseconds(5), [&loop] { loop->stop(); });
  EXPECT_TRUE(loop->run().has_value());
  observer.on_state(*loop, vmm::DomainState::kEnded, "");
  return ::testing::internal::GetCapturedStderr();
}

TEST(RunObserver, SilentGuestGetsAHint) {
  EXPECT_NE(said_about("", true).find("console=ttyS0"), std::string::npos);
  EXPECT_EQ(said_about("Linux version", true).find("console=ttyS0"), std::string::npos);
  EXPECT_EQ(said_about("", false), "");
}

TEST(RunObserver, TellsWhereThingsAreAndOfAPanic) {
  const std::string said = said_about("[ 1.0] Kernel panic - not syncing: VFS", true);
  EXPECT_NE(said.find("info: web: started; log: /log; Ctrl-]"), std::string::npos) << said;
  EXPECT_NE(said.find("panic=-1"), std::string::npos) << said;
}

TEST(RunObserver, SaysWhichPortsLeadWhere) {
  const auto said = [](bool lacks_network) {
    ::testing::internal::CaptureStderr();
    auto loop = EventLoop::create();
    RunObserver observer(
        {.name = "web", .speaks = true, .lacks_network = lacks_network, .grace = {}}, nullptr);
    if (!lacks_network)
      observer.set_networks(
          {{.mac = "",
            .interface = "",
            .published = {{.host_port = 8080, .guest_port = 80},
                          {.udp = true, .address = 0, .host_port = 53, .guest_port = 5353}}}});
    observer.on_state(*loop, vmm::DomainState::kRunning, "");
    observer.on_state(*loop, vmm::DomainState::kEnded, "");
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said(false),
            "info: web: started\ninfo: web: 127.0.0.1:8080/tcp leads to the guest's port 80\n"
            "info: web: 0.0.0.0:53/udp leads to the guest's port 5353\n");
  EXPECT_EQ(said(true),
            "info: web: started; no network (--net user has one, --net none says so)\n");
}

TEST(EventStream, TellsHowManyASlowReaderHasLost) {
  const Pipe pipe;
  auto stream = EventStream::open(pipe.name());
  ASSERT_TRUE(stream.has_value()) << stream.error().message();
  (*stream)->set_domain("web");
  for (int i = 0; i < 100; ++i) (*stream)->event("reset");
  size_t kept = 0;
  for (const char c : pipe.take()) kept += c == '\n' ? 1 : 0;
  ASSERT_GT(kept, 0U);
  ASSERT_LT(kept, 100U);

  (*stream)->event("preserved");
  const auto last = nlohmann::json::parse(pipe.take());
  EXPECT_EQ(last["event"], "preserved");
  EXPECT_EQ(last["lost"], 100 - kept);
}

TEST(EventStream, EndArrivesHoweverLongItsStoryIs) {
  const Pipe pipe;
  auto stream = EventStream::open(pipe.name());
  ASSERT_TRUE(stream.has_value());
  RunRecord record{.domain = "web"};
  record.end = fail(ErrorKind::kIo, "{}", std::string(10000, 'x'));
  (*stream)->ended(record);
  const std::string line = pipe.take();
  EXPECT_LE(line.size(), 4096U);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["event"], "ended");
  EXPECT_TRUE(json["detail"].get<std::string>().ends_with("x..."));
}

TEST(RunObserver, LoginPromptIsAnEventOfEachStart) {
  const Pipe pipe;
  ASSERT_GE(::fcntl(pipe.write.get(), F_SETPIPE_SZ, 65536), 65536) << "a page for each line";
  auto stream = EventStream::open(pipe.name());
  ASSERT_TRUE(stream.has_value());
  auto loop = EventLoop::create();
  RunObserver observer({.name = "web", .grace = std::chrono::seconds(1)}, *stream);
  for (int start = 0; start < 2; ++start) {
    observer.on_state(*loop, vmm::DomainState::kRunning, "");
    for (const char* text : {"web log", "in: ", "login: "})
      observer.on_console_output(bytes_of(text));
  }
  std::istringstream lines(pipe.take());
  std::vector<std::string> events;
  for (std::string line; std::getline(lines, line);)
    events.push_back(nlohmann::json::parse(line)["event"]);
  EXPECT_EQ(events, (std::vector<std::string>{"started", "ready", "reset", "ready"}));
}

TEST(RunObserver, ErrorsOfADiskDoNotFloodTheReader) {
  const Pipe pipe;
  ASSERT_GE(::fcntl(pipe.write.get(), F_SETPIPE_SZ, 65536), 65536) << "a page for each line";
  auto stream = EventStream::open(pipe.name());
  ASSERT_TRUE(stream.has_value());
  const auto listener =
      RunObserver({.name = "web", .grace = std::chrono::seconds(1)}, *stream).disk_error_listener();
  for (int i = 0; i < 1000; ++i) listener("vda", Error(ErrorKind::kIo, "gone"));
  const std::string text = pipe.take();
  EXPECT_LE(std::ranges::count(text, '\n'), 2 * LogLimiter::kBurst) << "a window may end here";
  EXPECT_NE(text.find("\"disk\":\"vda\",\"detail\":\"gone\""), std::string::npos);
}

TEST(RunRecord, IsOneObjectWhateverTheNames) {
  RunRecord record{.domain = "\xff\n\"", .resets = 3, .exit_code = 70};
  record.end = vmm::EndReason{.kind = vmm::EndKind::kDebugExit, .code = 38, .detail = "a\nb"};
  const std::string text = to_json(record);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["reason"], "debug-exit");
  EXPECT_EQ(json["guest_status"], 38);
  EXPECT_EQ(json["resets"], 3);
  EXPECT_EQ(json["detail"], "a\nb");
  EXPECT_EQ(json["started"], "1970-01-01T00:00:00.000Z");
}

TEST(ResultPlace, RefusesDescriptorsThatAreNone) {
  for (const char* where : {"fd:", "fd:x", "fd:-1", "fd:1x", "fd:1000000"})
    EXPECT_FALSE(ResultPlace::open(where).has_value()) << where;
  const Pipe pipe;
  EXPECT_FALSE(ResultPlace::open(fmt::format("fd:{}", pipe.read.get())).has_value());
  EXPECT_TRUE(ResultPlace::open(pipe.name()).has_value());
}

}  // namespace
}  // namespace hull::cli
