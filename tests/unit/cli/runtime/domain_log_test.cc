#include "tools/hull/runtime/domain_log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>

#include "tests/support/temporary_directory.h"

namespace hull::cli {
namespace {

using hull::testing::TemporaryDirectory;

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(DomainLog, HasLibvirtsTwoLineForms) {
  const TemporaryDirectory directory;
  auto log = DomainLog::open(directory / "a.log");
  ASSERT_TRUE(log);
  const std::vector<std::string> command = {"/usr/bin/hull", "run", "my file.xml"};
  ASSERT_TRUE(log->starting_up("0.1.0", command));
  ASSERT_TRUE(log->shutting_down(ShutdownReason::kDestroyed));

  const std::string time = R"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000: )";
  const std::regex expected(time +
                            R"(starting up hull version: 0\.1\.0, kernel: \S+, hostname: \S+)"
                            "\n/usr/bin/hull \\\\\nrun \\\\\n'my file.xml'\n" +
                            time + "shutting down, reason=destroyed\n");
  EXPECT_TRUE(std::regex_match(contents(directory / "a.log"), expected))
      << contents(directory / "a.log");
}

TEST(DomainLog, IsPrivateAndAppended) {
  const TemporaryDirectory directory;
  for (int run = 0; run < 2; ++run) {
    auto log = DomainLog::open(directory / "a.log");
    ASSERT_TRUE(log);
    ASSERT_TRUE(log->event("hello"));
  }
  struct stat status{};
  ASSERT_EQ(::stat((directory / "a.log").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  const std::string text = contents(directory / "a.log");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
}

TEST(DomainLog, HostileTextStaysOneLine) {
  const TemporaryDirectory directory;
  auto log = DomainLog::open(directory / "a.log");
  ASSERT_TRUE(log);
  ASSERT_TRUE(log->event("a\nb\x1b[2J"));
  EXPECT_NE(contents(directory / "a.log").find("a\\x0ab\\x1b[2J\n"), std::string::npos);
}

TEST(DomainLog, FullLogIsRotatedAndThreeAreKept) {
  const TemporaryDirectory directory;
  auto log = DomainLog::open(directory / "a.log", 100);
  ASSERT_TRUE(log);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(log->event(std::string(60, static_cast<char>('a' + i))));

  EXPECT_NE(contents(directory / "a.log").find("hhhh"), std::string::npos);
  EXPECT_NE(contents(directory / "a.log.0").find("gggg"), std::string::npos);
  EXPECT_NE(contents(directory / "a.log.2").find("eeee"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(directory / "a.log.3"));
}

TEST(DomainLog, PlantedLinkIsNotFollowed) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "victim") << "precious";
  ASSERT_EQ(::symlink("victim", (directory / "a.log").c_str()), 0);
  EXPECT_FALSE(DomainLog::open(directory / "a.log"));
  EXPECT_EQ(contents(directory / "victim"), "precious");
}

}  // namespace
}  // namespace hull::cli
