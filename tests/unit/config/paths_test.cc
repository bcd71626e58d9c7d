#include "config/paths.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "tests/support/temporary_directory.h"

namespace hull::config {
namespace {

using hull::testing::TemporaryDirectory;

mode_t mode_of(const std::string& path) {
  struct stat status{};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

PathEnvironment session_in(const std::string& home) {
  PathEnvironment environment;
  environment.home = home;
  environment.xdg_runtime_dir = home + "/r";
  return environment;
}

TEST(Paths, SystemLayoutIsBelowHullsRoots) {
  const Paths paths = *Paths::standard({.privileged = true,
                                        .home = {},
                                        .xdg_config_home = {},
                                        .xdg_cache_home = {},
                                        .xdg_data_home = {},
                                        .xdg_runtime_dir = {}},
                                       Product::kHull);
  const DomainPaths files = *paths.of_domain("web1", 7);

  EXPECT_EQ(files.definition, "/etc/hull/qemu/web1.xml");
  EXPECT_EQ(files.autostart_link, "/etc/hull/qemu/autostart/web1.xml");
  EXPECT_EQ(files.pid_file, "/run/hull/qemu/web1.pid");
  EXPECT_EQ(files.status_file, "/run/hull/qemu/web1.xml");
  EXPECT_EQ(files.log_file, "/var/log/hull/qemu/web1.log");
  EXPECT_EQ(files.console_log, "/var/log/hull/qemu/web1-serial0.log");
  EXPECT_EQ(files.lib_dir, "/var/lib/hull/qemu/domain-7-web1");
  EXPECT_EQ(files.channel_dir, "/var/lib/hull/qemu/channel/target/domain-7-web1");
  EXPECT_EQ(files.snapshot_dir, "/var/lib/hull/qemu/snapshot/web1");
  EXPECT_EQ(paths.images_dir, "/var/lib/hull/images");
}

TEST(Paths, SessionLayoutFollowsXdg) {
  PathEnvironment environment = session_in("/home/u");
  environment.xdg_cache_home = "relative is ignored";
  environment.xdg_data_home = "/data";
  const Paths paths = *Paths::standard(environment, Product::kHull);
  const DomainPaths files = *paths.of_domain("a", 1);

  EXPECT_EQ(files.definition, "/home/u/.config/hull/qemu/a.xml");
  EXPECT_EQ(files.pid_file, "/home/u/r/hull/qemu/run/a.pid");
  EXPECT_EQ(files.log_file, "/home/u/.cache/hull/qemu/log/a.log");
  EXPECT_EQ(files.lib_dir, "/home/u/.config/hull/qemu/lib/domain-1-a");
  EXPECT_EQ(files.snapshot_dir, "/home/u/.config/hull/qemu/snapshot/a");
  EXPECT_EQ(paths.images_dir, "/data/hull/images");
}

TEST(Paths, SessionWithoutHomeIsRefused) {
  const auto paths = Paths::standard(PathEnvironment{}, Product::kHull);
  ASSERT_FALSE(paths);
  EXPECT_EQ(paths.error().kind(), ErrorKind::kHost);
}

TEST(Paths, RootLayoutIsBelowTheRoot) {
  const Paths paths = *Paths::below("/tmp/x/");
  EXPECT_EQ(paths.of_domain("a", 1)->definition, "/tmp/x/etc/qemu/a.xml");
  EXPECT_EQ(paths.run_dir, "/tmp/x/run/qemu");
  EXPECT_FALSE(Paths::below("x"));
}

TEST(Paths, LibvirtLayoutHasStandardPaths) {
  PathEnvironment environment;
  environment.privileged = true;
  const Paths paths = *Paths::standard(environment, Product::kLibvirt);
  EXPECT_EQ(paths.of_domain("a", 1)->definition, "/etc/libvirt/qemu/a.xml");
  EXPECT_EQ(paths.of_domain("a", 1)->pid_file, "/run/libvirt/qemu/a.pid");
}

TEST(Paths, BadNameNeverBecomesAPath) {
  const Paths paths = *Paths::below("/tmp/x");
  EXPECT_FALSE(paths.of_domain("../a", 1));
  EXPECT_FALSE(paths.of_domain("", 1));
}

TEST(Paths, LongNameIsCutForSocketsAtACharacter) {
  const Paths paths = *Paths::below("/x");
  EXPECT_EQ(paths.of_domain("1234567890123456789\xc3\xbc", 1)->lib_dir,
            "/x/lib/qemu/domain-1-1234567890123456789");
}

TEST(CreateDirectories, ModesIgnoreTheUmask) {
  const TemporaryDirectory directory;
  const Paths paths = *Paths::below(directory.path());
  const mode_t old = ::umask(0077);
  ASSERT_TRUE(paths.create_directories());
  ::umask(old);

  EXPECT_EQ(mode_of(paths.definition_dir), 0700U);
  EXPECT_EQ(mode_of(paths.run_dir), 0755U);
  EXPECT_EQ(mode_of(paths.lib_dir), 0750U);
  EXPECT_EQ(mode_of(paths.log_dir), 0700U);
  EXPECT_EQ(mode_of(paths.images_dir), 0711U);
  EXPECT_TRUE(paths.create_directories()) << "existing directories are fine";
}

TEST(CreateDirectories, SessionIsForItsOwnerOnly) {
  const TemporaryDirectory directory;
  const Paths paths = *Paths::standard(session_in(directory.path()), Product::kHull);
  ASSERT_TRUE(paths.create_directories());
  EXPECT_EQ(mode_of(paths.run_dir), 0700U);
  EXPECT_EQ(mode_of(paths.images_dir), 0700U);
}

TEST(MakeDirectory, LinkInPlaceOfTheDirectoryIsRefused) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::mkdir((directory / "real").c_str(), 0700), 0);
  ASSERT_EQ(::symlink("real", (directory / "link").c_str()), 0);
  const auto made = make_directory(directory / "link", 0700, 0755);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message().find("not a directory"), std::string::npos);
}

TEST(MakeDirectory, WorldWritableDirectoryIsRefused) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::mkdir((directory / "open").c_str(), 0700), 0);
  ASSERT_EQ(::chmod((directory / "open").c_str(), 0777), 0);
  EXPECT_FALSE(make_directory(directory / "open", 0700, 0755));
}

}  // namespace
}  // namespace hull::config
