#include "tools/hull/runtime/pid_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/support/temporary_directory.h"

namespace hull::cli {
namespace {

using hull::testing::TemporaryDirectory;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(PidFile, HoldsDecimalWithoutNewline) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.pid";
  const mode_t old = ::umask(0077);
  auto file = PidFile::acquire(path);
  ::umask(old);
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_EQ(text_of(path), "");
  ASSERT_TRUE(file->publish(4711));

  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644U);
  EXPECT_EQ(text_of(path), "4711");
  EXPECT_EQ(*PidFile::holder(path), 4711);
}

TEST(PidFile, SecondAcquireIsBusyAndNamesThePid) {
  const TemporaryDirectory directory;
  auto first = PidFile::acquire(directory / "a.pid");
  ASSERT_TRUE(first);
  const auto second = PidFile::acquire(directory / "a.pid");
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message().find("being started"), std::string::npos);

  ASSERT_TRUE(first->publish(4711));
  const auto third = PidFile::acquire(directory / "a.pid");
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().kind(), ErrorKind::kBusy);
  EXPECT_NE(third.error().message().find("PID 4711"), std::string::npos);
  EXPECT_EQ(text_of(directory / "a.pid"), "4711");
}

TEST(PidFile, IsRemovedAtTheEnd) {
  const TemporaryDirectory directory;
  {
    auto file = PidFile::acquire(directory / "a.pid");
    ASSERT_TRUE(file);
  }
  EXPECT_NE(::access((directory / "a.pid").c_str(), F_OK), 0);
  EXPECT_EQ(*PidFile::holder(directory / "a.pid"), std::nullopt);
}

TEST(PidFile, FileLeftBySigkillBlocksNobody) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.pid";
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto file = PidFile::acquire(path);
    const bool good = file && file->publish(::getpid());
    const char byte = good ? 'y' : 'n';
    if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  EXPECT_EQ(*PidFile::holder(path), child);
  EXPECT_FALSE(PidFile::acquire(path));

  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);

  EXPECT_EQ(text_of(path), std::to_string(child)) << "the file is stale";
  EXPECT_EQ(*PidFile::holder(path), std::nullopt);
  auto next = PidFile::acquire(path);
  ASSERT_TRUE(next) << next.error().message();
  ASSERT_TRUE(next->publish(1));
  EXPECT_EQ(text_of(path), "1");
}

TEST(PidFile, PlantedLinkIsNotFollowed) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "victim") << "precious";
  ASSERT_EQ(::symlink("victim", (directory / "a.pid").c_str()), 0);
  EXPECT_FALSE(PidFile::acquire(directory / "a.pid"));
  EXPECT_EQ(text_of(directory / "victim"), "precious");
}

TEST(PidFile, NothingIsCreatedThroughALink) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::symlink("absent", (directory / "a.pid").c_str()), 0);
  EXPECT_FALSE(PidFile::acquire(directory / "a.pid"));
  EXPECT_NE(::access((directory / "absent").c_str(), F_OK), 0);
}

// Takes and drops the file many times; 1 if another process was found to have it meanwhile.
int contend(const std::string& path, const std::string& witness) {
  for (int i = 0; i < 10000; ++i) {
    auto file = PidFile::acquire(path);
    if (!file) continue;
    const int fd = ::open(witness.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const bool alone = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
    ::sched_yield();
    ::close(fd);
    if (!alone) return 1;
  }
  return 0;
}

TEST(PidFile, RemovalWhileOthersOpenItLetsOnlyOneIn) {
  const TemporaryDirectory directory;
  pid_t children[8];
  for (pid_t& child : children) {
    child = ::fork();
    if (child == 0) ::_exit(contend(directory / "a.pid", directory / "witness"));
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

TEST(PidFile, ForeignFileInItsPlaceIsKept) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.pid";
  {
    auto file = PidFile::acquire(path);
    ASSERT_TRUE(file);
    ASSERT_EQ(::unlink(path.c_str()), 0);
    std::ofstream(path) << "other";
  }
  EXPECT_EQ(text_of(path), "other");
}

TEST(PidFile, FifoIsRefused) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::mkfifo((directory / "a.pid").c_str(), 0600), 0);
  EXPECT_FALSE(PidFile::acquire(directory / "a.pid"));
}

// Every user can do that to a file that everybody may read.
UniqueFd read_locked(const std::string& path) {
  UniqueFd reader = std::move(*open_file(path, O_RDONLY));
  struct flock lock{};
  lock.l_type = F_RDLCK;
  lock.l_len = 1;
  EXPECT_EQ(::fcntl(reader.get(), F_OFD_SETLK, &lock), 0);
  return reader;
}

TEST(PidFile, ReadLockOnAStaleFileBlocksNobodyAndFakesNobody) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.pid";
  std::ofstream(path) << "4711";
  const UniqueFd reader = read_locked(path);
  EXPECT_EQ(*PidFile::holder(path), std::nullopt);
  {
    auto file = PidFile::acquire(path);
    ASSERT_TRUE(file) << file.error().message();
    ASSERT_TRUE(file->publish(12));
    EXPECT_EQ(text_of(path), "12");
    EXPECT_EQ(*PidFile::holder(path), 12);
    EXPECT_FALSE(PidFile::acquire(path));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(PidFile, RemovedOnceIsGoneAndLaterOnesAreNotTouched) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.pid";
  auto file = PidFile::acquire(path);
  ASSERT_TRUE(file);
  file->remove();
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  const auto next = PidFile::acquire(path);
  ASSERT_TRUE(next);
  file->remove();
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace hull::cli
