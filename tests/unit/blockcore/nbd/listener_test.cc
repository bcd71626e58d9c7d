#include "blockcore/nbd/listener.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temporary_directory.h"

namespace hull::blockcore::nbd {
namespace {

class NbdListener : public ::testing::Test {
 protected:
  bool can_connect() {
    const SocketAddress address = SocketAddress::unix_path(path_).value();
    const UniqueFd socket = address.make_socket(0).value();
    return ::connect(socket.get(), address.get(), address.size()) == 0;
  }

  testing::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "socket";
};

TEST_F(NbdListener, SocketIsForItsOwnerAloneAndGoesInTheEnd) {
  const mode_t previous = ::umask(0);
  {
    auto listener = UnixListener::create(path_);
    ASSERT_TRUE(listener) << listener.error().message();
    struct stat status;
    ASSERT_EQ(::lstat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    EXPECT_TRUE(can_connect());
  }
  ::umask(previous);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(NbdListener, StaleSocketIsReplaced) {
  std::filesystem::path kept = path_ + ".kept";
  {
    auto first = UnixListener::create(path_);
    ASSERT_TRUE(first);
    std::filesystem::rename(path_, kept);
  }
  std::filesystem::rename(kept, path_);
  ASSERT_FALSE(can_connect());
  const auto second = UnixListener::create(path_);
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_TRUE(can_connect());
}

TEST_F(NbdListener, SocketInUseIsBusyAndStays) {
  const auto first = UnixListener::create(path_);
  ASSERT_TRUE(first);
  const auto second = UnixListener::create(path_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind(), ErrorKind::kBusy);
  EXPECT_TRUE(can_connect());
}

TEST_F(NbdListener, OtherFilesAreLeftAlone) {
  std::ofstream(path_) << "precious";
  EXPECT_FALSE(UnixListener::create(path_));
  EXPECT_EQ(std::filesystem::file_size(path_), 8U);
  const std::string link = directory_ / "link";
  std::filesystem::create_symlink(directory_ / "elsewhere", link);
  EXPECT_FALSE(UnixListener::create(link));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "elsewhere"));
}

TEST_F(NbdListener, SocketOfSomebodyElseIsNotRemoved) {
  {
    auto listener = UnixListener::create(path_);
    ASSERT_TRUE(listener);
    std::filesystem::rename(path_, path_ + ".ours");
    std::ofstream(path_) << "theirs";
  }
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(NbdListener, PathsThatDoNotFitAreRefused) {
  EXPECT_FALSE(UnixListener::create(std::string(108, 'x')));
  EXPECT_FALSE(UnixListener::create(""));
  EXPECT_FALSE(UnixListener::create(std::string("a\0b", 3)));
}

TEST_F(NbdListener, TcpPortIsChosenAndTold) {
  const auto listener = listen_tcp(SocketAddress::tcp("localhost", 0).value());
  ASSERT_TRUE(listener) << listener.error().message();
  EXPECT_NE(listener->port, 0);
}

TEST_F(NbdListener, AddressesAreNumeric) {
  EXPECT_TRUE(SocketAddress::tcp("127.0.0.2", 1)->is_loopback());
  EXPECT_TRUE(SocketAddress::tcp("::1", 1)->is_loopback());
  EXPECT_FALSE(SocketAddress::tcp("0.0.0.0", 1)->is_loopback());
  EXPECT_FALSE(SocketAddress::tcp("::", 1)->is_loopback());
  EXPECT_FALSE(SocketAddress::tcp("host.example", 1));
  EXPECT_FALSE(SocketAddress::tcp("", 1));
}

}  // namespace
}  // namespace hull::blockcore::nbd
