#include "tools/hull/runtime/libvirt_guard.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/unique_fd.h"
#include "tests/support/temporary_directory.h"

namespace hull::cli {
namespace {

using hull::testing::TemporaryDirectory;

config::Paths libvirt_paths_in(const std::string& home) {
  config::PathEnvironment environment;
  environment.home = home;
  environment.xdg_runtime_dir = home + "/r";
  return *config::Paths::standard(environment, config::Product::kLibvirt);
}

TEST(CheckLibvirtIdle, NothingThereIsIdle) {
  const TemporaryDirectory directory;
  const config::Paths paths = libvirt_paths_in(directory.path());
  EXPECT_TRUE(check_libvirt_idle(paths));
}

TEST(CheckLibvirtIdle, LockedDriverPidIsBusy) {
  const TemporaryDirectory directory;
  const config::Paths paths = libvirt_paths_in(directory.path());
  ASSERT_TRUE(config::make_directory(paths.run_dir, 0700, 0700));
  const UniqueFd driver = *open_file(paths.run_dir + "/driver.pid", O_RDWR | O_CREAT);
  EXPECT_TRUE(check_libvirt_idle(paths)) << "a stale file does not count";
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_len = 1;
  ASSERT_EQ(::fcntl(driver.get(), F_OFD_SETLK, &lock), 0);

  const auto idle = check_libvirt_idle(paths);
  ASSERT_FALSE(idle);
  EXPECT_EQ(idle.error().kind(), ErrorKind::kBusy);
}

TEST(CheckLibvirtIdle, ReadLockOfAnybodyIsNoDriver) {
  const TemporaryDirectory directory;
  const config::Paths paths = libvirt_paths_in(directory.path());
  ASSERT_TRUE(config::make_directory(paths.run_dir, 0700, 0700));
  const UniqueFd reader = *open_file(paths.run_dir + "/driver.pid", O_RDWR | O_CREAT);
  struct flock lock{};
  lock.l_type = F_RDLCK;
  lock.l_len = 1;
  ASSERT_EQ(::fcntl(reader.get(), F_OFD_SETLK, &lock), 0);
  EXPECT_TRUE(check_libvirt_idle(paths));
}

TEST(CheckLibvirtIdle, ListeningDaemonIsBusyButAStaleSocketIsNot) {
  const TemporaryDirectory directory;
  const config::Paths paths = libvirt_paths_in(directory.path());
  ASSERT_TRUE(config::make_directory(paths.daemon_run_dir, 0700, 0700));
  UniqueFd daemon(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = paths.daemon_run_dir + "/virtqemud-sock";
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(daemon.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(daemon.get(), 1), 0);
  EXPECT_FALSE(check_libvirt_idle(paths));

  daemon.reset();
  EXPECT_TRUE(check_libvirt_idle(paths));
}

}  // namespace
}  // namespace hull::cli
