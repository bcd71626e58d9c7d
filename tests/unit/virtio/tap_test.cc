// Needs root and /dev/net/tun; skipped without them. Runs in a network namespace of its own, with a
// /dev/net/tun that every user may open.
#include "virtio/tap.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace hull::virtio {
namespace {

constexpr uid_t kNobody = 65534;

bool enter_namespaces() {
  return ::unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("tmpfs", "/dev/net", "tmpfs", 0, nullptr) == 0 &&
         ::mknod("/dev/net/tun", S_IFCHR | 0600, ::makedev(10, 200)) == 0 &&
         ::chmod("/dev/net/tun", 0666) == 0;
}

class TapTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* const places[] = {"/proc/self/ns/net", "/proc/self/ns/mnt"};
    for (size_t i = 0; i < 2; ++i) before_[i].reset(::open(places[i], O_RDONLY | O_CLOEXEC));
    entered_ = enter_namespaces();
  }
  static void TearDownTestSuite() {
    for (UniqueFd& fd : before_) EXPECT_EQ(::setns(fd.get(), 0), 0);
  }
  void SetUp() override {
    if (!entered_) GTEST_SKIP() << "needs root";
    auto tap = Tap::open({});
    if (!tap) GTEST_SKIP() << tap.error().message();
  }
  void TearDown() override {
    for (const char* name : {"hullbr", "hullv0", "tap0", "hulltest0"})
      if (::if_nametoindex(name) != 0) run(fmt::format("ip link delete dev {}", name));
  }
  static void run(const std::string& command) {
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
  static std::string message_of(const Result<std::unique_ptr<Tap>>& tap) {
    return tap ? "opened" : tap.error().message();
  }
  // What Tap::open() says to a user without rights.
  static std::string as_nobody(const TapOptions& options) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd reader(ends[0]);
    UniqueFd writer(ends[1]);
    const pid_t child = ::fork();
    if (child == 0) {
      std::string text = "cannot change user";
      if (::setresuid(kNobody, kNobody, kNobody) == 0) text = message_of(Tap::open(options));
      (void)!::write(writer.get(), text.data(), text.size());
      ::_exit(0);
    }
    writer.reset();
    std::string text(4096, '\0');
    size_t length = 0;
    for (ssize_t got = 1; got > 0; length += static_cast<size_t>(got))
      got = std::max<ssize_t>(::read(reader.get(), text.data() + length, text.size() - length), 0);
    EXPECT_EQ(::waitpid(child, nullptr, 0), child);
    text.resize(length);
    return text;
  }
  // Runs, as root, each command that `text` has in quotes.
  static void obey(const std::string& text) {
    unsigned count = 0;
    for (size_t at = text.find("'ip "); at != std::string::npos; at = text.find("'ip ", at + 1)) {
      const size_t end = text.find('\'', at + 1);
      ASSERT_NE(end, std::string::npos);
      run(text.substr(at + 1, end - at - 1));
      ++count;
    }
    EXPECT_NE(count, 0U) << text;
  }
  static void make_bridge_for_jumbo_frames() {
    run("ip link add hullbr type bridge");
    run("ip link add hullv0 mtu 9000 type veth peer name hullv1 mtu 9000");
    run("ip link set hullv0 master hullbr");
    run("ip link set hullv0 up");
    run("ip link set hullbr up");
    ASSERT_EQ(mtu_of("hullbr"), 9000);
  }
  static short flags_of(const std::string& ifname) {
    const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    ifname.copy(request.ifr_name, IFNAMSIZ - 1);
    EXPECT_EQ(::ioctl(control.get(), SIOCGIFFLAGS, &request), 0);
    return request.ifr_flags;
  }
  static int mtu_of(const std::string& ifname) {
    const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    ifname.copy(request.ifr_name, IFNAMSIZ - 1);
    EXPECT_EQ(::ioctl(control.get(), SIOCGIFMTU, &request), 0);
    return request.ifr_mtu;
  }

 private:
  static inline UniqueFd before_[2];
  static inline bool entered_ = false;
};

TEST_F(TapTest, NamelessTapGetsANameIsUpAndGoesWithUs) {
  std::string ifname;
  {
    const auto tap = Tap::open({.mtu = 1400}).value();
    ifname = tap->ifname();
    EXPECT_NE(::if_nametoindex(ifname.c_str()), 0U);
    EXPECT_TRUE((flags_of(ifname) & IFF_UP) != 0);
    EXPECT_EQ(mtu_of(ifname), 1400);
  }
  EXPECT_EQ(::if_nametoindex(ifname.c_str()), 0U);
}

TEST_F(TapTest, SecondUserOfATapIsToldThatItIsBusy) {
  const auto tap = Tap::open({.ifname = "hulltest0"}).value();
  const auto second = Tap::open({.ifname = "hulltest0"});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().kind(), ErrorKind::kBusy);
}

TEST_F(TapTest, TapThatHasToExistIsNotCreated) {
  const auto tap = Tap::open({.ifname = "hulltest1", .create = false});
  ASSERT_FALSE(tap.has_value());
  EXPECT_EQ(tap.error().kind(), ErrorKind::kHost);
  EXPECT_NE(tap.error().message().find("ip tuntap add"), std::string::npos);
  EXPECT_EQ(::if_nametoindex("hulltest1"), 0U);
}

TEST_F(TapTest, InterfaceThatIsNoTapIsRefused) {
  const auto tap = Tap::open({.ifname = "lo"});
  ASSERT_FALSE(tap.has_value());
  EXPECT_EQ(tap.error().kind(), ErrorKind::kInvalidConfig);
}

TEST_F(TapTest, BridgeThatDoesNotExistIsAnErrorWhoseRemedyHelps) {
  const auto tap = Tap::open({.bridge = "hullbr"});
  ASSERT_FALSE(tap.has_value());
  EXPECT_NE(tap.error().message().find("no bridge 'hullbr'"), std::string::npos);
  obey(tap.error().message());
  EXPECT_EQ(message_of(Tap::open({.bridge = "hullbr"})), "opened");
}

TEST_F(TapTest, InterfaceThatIsNoBridgeIsNamedAsSuch) {
  const auto tap = Tap::open({.bridge = "lo"});
  ASSERT_FALSE(tap.has_value());
  EXPECT_EQ(tap.error().message(), "interface 'lo' is no bridge");
}

TEST_F(TapTest, NewTapTakesTheMtuOfItsBridgeAndTellsIt) {
  make_bridge_for_jumbo_frames();
  const auto tap = Tap::open({.bridge = "hullbr"}).value();
  EXPECT_EQ(mtu_of("hullbr"), 9000) << "nobody else's frames are cut";
  EXPECT_EQ(mtu_of(tap->ifname()), 9000);
  EXPECT_EQ(tap->mtu(), 9000);
  EXPECT_NE(flags_of(tap->ifname()) & IFF_UP, 0);
}

TEST_F(TapTest, ExistingTapThatIsPutIntoABridgeIsSetUpToo) {
  make_bridge_for_jumbo_frames();
  run("ip tuntap add dev tap0 mode tap");
  const auto tap = Tap::open({.ifname = "tap0", .bridge = "hullbr"}).value();
  EXPECT_NE(flags_of("tap0") & IFF_UP, 0);
  EXPECT_EQ(mtu_of("hullbr"), 9000);
  EXPECT_EQ(mtu_of("tap0"), 9000);
}

TEST_F(TapTest, PortThatWasMadeBeforehandKeepsItsMtu) {
  make_bridge_for_jumbo_frames();
  run("ip tuntap add dev tap0 mode tap");
  run("ip link set tap0 mtu 8000");
  run("ip link set tap0 master hullbr");
  const auto tap = Tap::open({.ifname = "tap0", .bridge = "hullbr"}).value();
  EXPECT_EQ(mtu_of("tap0"), 8000);
  EXPECT_EQ(tap->mtu(), 8000);
}

TEST_F(TapTest, ExistingTapTellsItsMtuAndTakesTheOneThatIsAskedFor) {
  run("ip tuntap add dev tap0 mode tap");
  EXPECT_EQ(Tap::open({.ifname = "tap0"}).value()->mtu(), std::nullopt) << "Ethernet's 1500";
  run("ip link set tap0 mtu 1400");
  EXPECT_EQ(Tap::open({.ifname = "tap0"}).value()->mtu(), 1400);
  EXPECT_EQ(mtu_of("tap0"), 1400);
  EXPECT_EQ(Tap::open({.ifname = "tap0", .mtu = 1300}).value()->mtu(), 1300);
  EXPECT_EQ(mtu_of("tap0"), 1300);
}

TEST_F(TapTest, TapForSeveralQueuesWorksWithOneAndIsNotShared) {
  run("ip tuntap add dev tap0 mode tap multi_queue");
  const auto tap = Tap::open({.ifname = "tap0"});
  ASSERT_EQ(message_of(tap), "opened");
  const auto second = Tap::open({.ifname = "tap0"});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().kind(), ErrorKind::kBusy);
}

TEST_F(TapTest, UserWithoutRightsIsToldHowToGetATap) {
  const std::string text = as_nobody({});
  EXPECT_EQ(text.find("hull%d"), std::string::npos) << text;
  EXPECT_NE(text.find("ifname=tap0"), std::string::npos) << text;
  obey(text);
  EXPECT_EQ(as_nobody({.ifname = "tap0"}), "opened");
}

TEST_F(TapTest, UserWithoutRightsIsToldHowToGetTheTapThatHeNamed) {
  obey(as_nobody({.ifname = "tap0"}));
  EXPECT_EQ(as_nobody({.ifname = "tap0"}), "opened");
}

TEST_F(TapTest, TapOfAnotherUserIsNamedAsSuch) {
  run("ip tuntap add dev tap0 mode tap user root");
  const std::string text = as_nobody({.ifname = "tap0"});
  EXPECT_NE(text.find("another user's"), std::string::npos) << text;
  obey(text);
  EXPECT_EQ(as_nobody({.ifname = "tap0"}), "opened");
}

TEST_F(TapTest, UserWithoutRightsIsToldHowToGetItIntoTheBridge) {
  make_bridge_for_jumbo_frames();
  run("ip tuntap add dev tap0 mode tap user nobody");
  const TapOptions options{.ifname = "tap0", .bridge = "hullbr"};
  std::string text;
  for (int step = 0; step < 4 && text != "opened"; ++step) {
    text = as_nobody(options);
    if (text != "opened") obey(text);
  }
  EXPECT_EQ(text, "opened");
  EXPECT_EQ(mtu_of("hullbr"), 9000);
}

TEST_F(TapTest, TapThatIsDownAndMayNotBeSetUpIsSaidSo) {
  run("ip tuntap add dev tap0 mode tap user nobody");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(as_nobody({.ifname = "tap0"}), "opened");
  const std::string warning = ::testing::internal::GetCapturedStderr();
  obey(warning);
  EXPECT_NE(flags_of("tap0") & IFF_UP, 0);
}

TEST_F(TapTest, DeviceThatMayNotBeOpenedIsNamedWithTheCommand) {
  ASSERT_EQ(::chmod("/dev/net/tun", 0600), 0);
  const std::string text = as_nobody({});
  EXPECT_NE(text.find("'chmod 666 /dev/net/tun'"), std::string::npos) << text;
  run("chmod 666 /dev/net/tun");
}

TEST_F(TapTest, FramesCarryAHeaderOf12Bytes) {
  const auto tap = Tap::open({}).value();
  // An ARP request of ours to the host's side is accepted whole.
  uint8_t data[12 + 60] = {};
  for (size_t i = 12; i < 18; ++i) data[i] = 0xff;
  data[18] = 2;
  data[24] = 8;
  data[25] = 6;
  EXPECT_EQ(::write(tap->fd(), data, sizeof data), std::ssize(data));
  // Fewer bytes than header and Ethernet header are not a frame.
  EXPECT_LT(::write(tap->fd(), data, 20), 0);
}

TEST_F(TapTest, OffloadsCanBeSetAndCleared) {
  const auto tap = Tap::open({}).value();
  EXPECT_TRUE(tap->supported_offloads().checksum);
  EXPECT_TRUE(tap->set_offloads({.checksum = true, .tso4 = true, .tso6 = true}).has_value());
  EXPECT_TRUE(tap->set_offloads({.tso4 = true}).has_value()) << "without checksums: nothing is set";
  EXPECT_TRUE(tap->set_offloads({}).has_value());
}

TEST(Tap, NameThatIsTooLongIsRefused) {
  const auto tap = Tap::open({.ifname = "a-name-of-sixteen"});
  ASSERT_FALSE(tap.has_value());
  EXPECT_EQ(tap.error().kind(), ErrorKind::kInvalidConfig);
}

}  // namespace
}  // namespace hull::virtio
