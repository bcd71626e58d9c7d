// Needs /dev/net/tun and CAP_NET_ADMIN; skipped without them.
#include "virtio/tap.h"

#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace hull::virtio {
namespace {

class TapTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tap = Tap::open({});
    if (!tap) GTEST_SKIP() << tap.error().message();
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

TEST_F(TapTest, BridgeThatDoesNotExistIsAnError) {
  const auto tap = Tap::open({.bridge = "hullnobridge"});
  ASSERT_FALSE(tap.has_value());
  EXPECT_NE(tap.error().message().find("hullnobridge"), std::string::npos);
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
