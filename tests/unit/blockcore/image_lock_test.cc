// Mutual exclusion among ourselves, and both ways with QEMU's programs.
#include "blockcore/file/image_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "base/check.h"
#include "base/unique_fd.h"
#include "tests/support/temporary_directory.h"

extern char** environ;

namespace hull::blockcore {
namespace {

constexpr LockRequest kReader{};
constexpr LockRequest kWriter{.write = true, .resize = true};
constexpr LockRequest kSharedWriter{.write = true, .share_write = true};

class ImageLockTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const UniqueFd fd = open_file(path_, O_RDWR | O_CREAT).value();
    ASSERT_EQ(::ftruncate(fd.get(), 1 << 20), 0);
  }
  UniqueFd open() const { return open_file(path_, O_RDWR).value(); }
  bool locks(const UniqueFd& fd, const LockRequest& request) const {
    const auto outcome = lock_image(fd.get(), path_, request);
    if (!outcome) {
      EXPECT_EQ(outcome.error().kind(), ErrorKind::kBusy) << outcome.error().message();
    }
    return outcome && *outcome == LockOutcome::kLocked;
  }

  testing::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "image";
};

TEST_F(ImageLockTest, ReadersShare) {
  const UniqueFd first = open();
  const UniqueFd second = open();
  EXPECT_TRUE(locks(first, kReader));
  EXPECT_TRUE(locks(second, kReader));
}

TEST_F(ImageLockTest, WriterExcludesReadersAndWriters) {
  const UniqueFd first = open();
  const UniqueFd second = open();
  ASSERT_TRUE(locks(first, kWriter));
  EXPECT_FALSE(locks(second, kReader));
  EXPECT_FALSE(locks(second, kWriter));
  EXPECT_FALSE(locks(second, kSharedWriter));
}

TEST_F(ImageLockTest, ReaderExcludesWriters) {
  const UniqueFd first = open();
  const UniqueFd second = open();
  ASSERT_TRUE(locks(first, kReader));
  EXPECT_FALSE(locks(second, kWriter));
}

TEST_F(ImageLockTest, SharedWritersGetAlongWithEachOther) {
  const UniqueFd first = open();
  const UniqueFd second = open();
  EXPECT_TRUE(locks(first, kSharedWriter));
  EXPECT_TRUE(locks(second, kSharedWriter));
}

TEST_F(ImageLockTest, FailedAttemptLeavesNothingBehind) {
  const UniqueFd second = open();
  {
    const UniqueFd first = open();
    ASSERT_TRUE(locks(first, kReader));
    ASSERT_FALSE(locks(second, kWriter));
    const UniqueFd third = open();
    EXPECT_TRUE(locks(third, kReader));
  }
  EXPECT_TRUE(locks(second, kWriter));
}

// qemu-io on the image, open until it is destroyed.
class QemuIo {
 public:
  QemuIo(const std::string& path, bool read_only) {
    int to_child[2];
    int from_child[2];
    CHECK(::pipe2(to_child, O_CLOEXEC) == 0 && ::pipe2(from_child, O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to_child[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from_child[1], 1);
    posix_spawn_file_actions_adddup2(&actions, from_child[1], 2);
    std::string arguments[] = {"qemu-io", "-f", "raw", path, "-r"};
    char* argv[] = {arguments[0].data(),
                    arguments[1].data(),
                    arguments[2].data(),
                    arguments[3].data(),
                    read_only ? arguments[4].data() : nullptr,
                    nullptr};
    CHECK(::posix_spawnp(&pid_, "qemu-io", &actions, nullptr, argv, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(to_child[0]);
    ::close(from_child[1]);
    input_.reset(to_child[1]);
    output_.reset(from_child[0]);
  }
  ~QemuIo() {
    input_.reset();
    ::waitpid(pid_, nullptr, 0);
  }
  QemuIo(const QemuIo&) = delete;
  QemuIo& operator=(const QemuIo&) = delete;

  // True once it has the image open and has read from it.
  bool reads() const {
    const std::string command = "read 0 512\n";
    if (::write(input_.get(), command.data(), command.size()) < 0) return false;
    std::string text;
    char buffer[512];
    for (;;) {
      const ssize_t got = ::read(output_.get(), buffer, sizeof buffer);
      if (got <= 0) return false;
      text.append(buffer, static_cast<size_t>(got));
      if (text.find("read 512/512") != std::string::npos) return true;
    }
  }

 private:
  pid_t pid_ = -1;
  UniqueFd input_;
  UniqueFd output_;
};

class ImageLockWithQemu : public ImageLockTest {
 protected:
  void SetUp() override {
    if (std::system("qemu-io --version >/dev/null 2>&1") != 0)
      GTEST_SKIP() << "qemu-io is not installed (Debian package qemu-utils)";
    ImageLockTest::SetUp();
    ::signal(SIGPIPE, SIG_IGN);
  }
  bool qemu_succeeds(const std::string& command) const {
    return std::system((command + " '" + path_ + "' >/dev/null 2>&1").c_str()) == 0;
  }
};

TEST_F(ImageLockWithQemu, OurWriterKeepsQemuOut) {
  // qemu-io tolerates writers below a raw image that it only reads; qcow2 does not.
  ASSERT_EQ(std::system(("qemu-img create -q -f qcow2 '" + path_ + "' 1M").c_str()), 0);
  const UniqueFd fd = open();
  ASSERT_TRUE(locks(fd, kWriter));
  EXPECT_FALSE(qemu_succeeds("qemu-io -f raw -c 'write 0 512'"));
  EXPECT_FALSE(qemu_succeeds("qemu-io -f qcow2 -c 'read 0 512'"));
  EXPECT_FALSE(qemu_succeeds("qemu-io -r -f qcow2 -c 'read 0 512'"));
  EXPECT_FALSE(qemu_succeeds("qemu-img info -f qcow2"));
  EXPECT_TRUE(qemu_succeeds("qemu-img info -U -f qcow2"));
}

TEST_F(ImageLockWithQemu, OurReaderKeepsQemuFromWriting) {
  const UniqueFd fd = open();
  ASSERT_TRUE(locks(fd, kReader));
  EXPECT_TRUE(qemu_succeeds("qemu-io -r -f raw -c 'read 0 512'"));
  EXPECT_FALSE(qemu_succeeds("qemu-io -f raw -c 'write 0 512'"));
}

TEST_F(ImageLockWithQemu, QemuWriterKeepsUsOut) {
  const QemuIo qemu(path_, false);
  ASSERT_TRUE(qemu.reads());
  const UniqueFd fd = open();
  EXPECT_FALSE(locks(fd, kReader));
  EXPECT_FALSE(locks(fd, kWriter));
}

TEST_F(ImageLockWithQemu, QemuReaderKeepsUsFromWriting) {
  const QemuIo qemu(path_, true);
  ASSERT_TRUE(qemu.reads());
  const UniqueFd fd = open();
  EXPECT_TRUE(locks(fd, kReader));
  const UniqueFd other = open();
  EXPECT_FALSE(locks(other, kWriter));
}

TEST_F(ImageLockWithQemu, ReleasedLockLetsQemuWrite) {
  {
    const UniqueFd fd = open();
    ASSERT_TRUE(locks(fd, kWriter));
  }
  EXPECT_TRUE(qemu_succeeds("qemu-io -f raw -c 'write 0 512'"));
}

}  // namespace
}  // namespace hull::blockcore
