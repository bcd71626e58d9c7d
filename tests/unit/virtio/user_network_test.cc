// With the passt of the host, in a network namespace of its own that has an interface and a default
// route; needs root.
#include "virtio/user/user_network.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdlib>

#include "tests/support/ip_frames.h"
#include "virtio/user/resolvers.h"

namespace hull::virtio {
namespace {

using testing::Bytes;
using testing::kGuestMac;
using testing::kTcp;
using testing::make_packet;
using testing::PacketSpec;

constexpr uint32_t kHost = ipv4(192, 0, 2, 2);
constexpr uint32_t kUserGateway = ipv4(10, 0, 2, 2);

sockaddr_in socket_address(uint32_t address, uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_addr.s_addr = htonl(address);
  result.sin_port = htons(port);
  return result;
}

class Listener {
 public:
  Listener(uint32_t address, uint16_t port, int kind = SOCK_STREAM)
      : fd_(::socket(AF_INET, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    const int on = 1;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr_in place = socket_address(address, port);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place), 0);
    if (kind == SOCK_STREAM) {
      EXPECT_EQ(::listen(fd_.get(), 8), 0);
    }
  }
  // Somebody has connected, or sent something.
  bool reached(int timeout_ms) const {
    pollfd one{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&one, 1, timeout_ms) == 1;
  }

 private:
  UniqueFd fd_;
};

class UserNetworkTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    before_.reset(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    entered_ = ::unshare(CLONE_NEWNET) == 0 &&
               std::system(
                   "ip link set lo up && ip tuntap add up0 mode tap && "
                   "ip address add 192.0.2.2/24 dev up0 && ip link set up0 up && "
                   "ip route add default via 192.0.2.1") == 0;
  }
  static void TearDownTestSuite() { EXPECT_EQ(::setns(before_.get(), 0), 0); }
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);
    if (!entered_) GTEST_SKIP() << "needs root";
  }

  void open(UserNetworkSpec spec = {}) {
    auto opened =
        UserNetwork::open({.name = "net0", .mac = kGuestMac, .mtu = {}, .spec = std::move(spec)});
    ASSERT_TRUE(opened.has_value()) << opened.error().message();
    network_ = *std::move(opened);
    const auto ready = network_->ready({});
    ASSERT_TRUE(ready.has_value()) << ready.error().message();
  }
  void send(const Bytes& frame) {
    Bytes with_header(kNetHeaderBytes, 0);
    with_header.insert(with_header.end(), frame.begin(), frame.end());
    // In two pieces, as drivers have them.
    const iovec pieces[] = {{with_header.data(), kNetHeaderBytes},
                            {with_header.data() + kNetHeaderBytes, frame.size()}};
    ASSERT_EQ(network_->send(pieces, with_header.size()), 0);
  }
  // The next TCP segment for the guest, in `last_`; false if none comes.
  bool take_segment() {
    for (;;) {
      Bytes frame(kMaxNetFrameBytes);
      const iovec piece{frame.data(), frame.size()};
      const ssize_t got = network_->receive({&piece, 1});
      if (got == -EAGAIN) {
        pollfd one{.fd = network_->fd(), .events = POLLIN, .revents = 0};
        if (::poll(&one, 1, 10'000) != 1) return false;
        continue;
      }
      if (got < 0) return false;
      last_.assign(frame.begin() + kNetHeaderBytes, frame.begin() + got);
      if (last_.size() >= 14 + 20 + 20 && last_[14 + 9] == kTcp) return true;
    }
  }
  bool answered(uint16_t source_port) {
    while (take_segment())
      if ((last_[34] << 8 | last_[35]) == source_port) return true;
    return false;
  }
  bool arrives_at(uint16_t guest_port) {
    while (take_segment())
      if ((last_[36] << 8 | last_[37]) == guest_port) return true;
    return false;
  }
  // Whatever was sent before has been looked at by passt when this is answered.
  void expect_world_reached() {
    const Listener server(kHost, 7000);
    send(make_packet({.target = kHost, .source_port = next_port_++, .target_port = 7000}));
    EXPECT_TRUE(answered(7000));
  }

  static inline UniqueFd before_;
  static inline bool entered_ = false;
  std::unique_ptr<UserNetwork> network_;
  Bytes last_;
  uint16_t next_port_ = 40000;
};

TEST_F(UserNetworkTest, ConnectsToTheWorld) {
  open();
  expect_world_reached();
  EXPECT_EQ(last_[14 + 20 + 13] & 0x12, 0x12);  // SYN, ACK
}

TEST_F(UserNetworkTest, NobodyReachesTheHostsLoopback) {
  open();
  const Listener tcp(kIpv4Loopback, 8000);
  const Listener udp(kIpv4Loopback, 8000, SOCK_DGRAM);
  const Listener everywhere(0, 8001);
  for (const uint32_t target : {kIpv4Loopback, ipv4(127, 1, 2, 3), uint32_t{0}, kUserGateway})
    for (const auto port : std::initializer_list<uint16_t>{8000, 8001})
      for (const uint8_t protocol : {testing::kTcp, testing::kUdp})
        send(make_packet({.target = target,
                          .protocol = protocol,
                          .source_port = next_port_++,
                          .target_port = port}));
  expect_world_reached();
  EXPECT_FALSE(tcp.reached(0));
  EXPECT_FALSE(udp.reached(0));
  EXPECT_FALSE(everywhere.reached(0));
}

TEST_F(UserNetworkTest, HostAccessOpensItAtTheGatewaysAddress) {
  open({.host_access = true});
  const Listener tcp(kIpv4Loopback, 8000);
  send(make_packet({.target = kIpv4Loopback, .source_port = 41000, .target_port = 8000}));
  send(make_packet({.target = ipv4(0, 0, 0, 0), .source_port = 41001, .target_port = 8000}));
  expect_world_reached();
  EXPECT_FALSE(tcp.reached(0));
  send(make_packet({.target = kUserGateway, .source_port = 41002, .target_port = 8000}));
  EXPECT_TRUE(tcp.reached(10'000));
}

TEST_F(UserNetworkTest, ForgedSendersAreNotHeard) {
  open();
  const Listener server(kHost, 8000);
  testing::Mac other = kGuestMac;
  other[5] ^= 1;
  send(make_packet({.target = kHost, .target_port = 8000, .source_mac = other}));
  send(make_packet({.source = ipv4(10, 0, 2, 16), .target = kHost, .target_port = 8000}));
  expect_world_reached();
  EXPECT_FALSE(server.reached(0));
}

// Before the guest has said anything.
TEST_F(UserNetworkTest, PublishedPortLeadsToTheGuestAtOnce) {
  open({.published = {{.host_port = 0, .guest_port = 80},
                      {.host_port = 9001, .guest_port = 443},
                      {.udp = true, .host_port = 9001, .guest_port = 53}}});
  const auto& published = network_->published();
  ASSERT_EQ(published.size(), 3U);
  EXPECT_NE(published[0].host_port, 0);
  for (const PublishedPort& port : {published[0], published[1]}) {
    const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_in place = socket_address(kIpv4Loopback, port.host_port);
    ::connect(client.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place);
    EXPECT_TRUE(arrives_at(port.guest_port));
  }
}

// The guest's end of a handshake, and data back: by a client on the host's loopback.
TEST_F(UserNetworkTest, PublishedPortIsAnswered) {
  open({.published = {{.host_port = 9200, .guest_port = 80}}});
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_in place = socket_address(kIpv4Loopback, 9200);
  ::connect(client.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place);
  ASSERT_TRUE(arrives_at(80));
  const uint16_t port = static_cast<uint16_t>(last_[34] << 8 | last_[35]);
  const uint32_t sequence = static_cast<uint32_t>(last_[38]) << 24 |
                            static_cast<uint32_t>(last_[39]) << 16 |
                            static_cast<uint32_t>(last_[40]) << 8 | last_[41];
  send(make_packet({.target = kUserGateway,
                    .source_port = 80,
                    .target_port = port,
                    .tcp_flags = 0x12,
                    .acknowledged = sequence + 1}));
  ASSERT_EQ(::send(client.get(), "hull", 4, 0), 4);
  do {
    ASSERT_TRUE(arrives_at(80));
  } while (last_.size() < 4 || std::memcmp(&last_[last_.size() - 4], "hull", 4) != 0);
}

// What looks like an answer reaches nobody on the host's loopback who has not asked.
TEST_F(UserNetworkTest, AnswersToNobodyBeginNoConnection) {
  open({.published = {{.host_port = 9300, .guest_port = 80}}});
  const Listener tcp(kIpv4Loopback, 8000);
  for (const auto flags : std::initializer_list<uint8_t>{0x12, 0x10, 0x18, 0x11, 0x04, 0x00, 0x02})
    send(make_packet(
        {.target = kUserGateway, .source_port = 80, .target_port = 8000, .tcp_flags = flags}));
  expect_world_reached();
  EXPECT_FALSE(tcp.reached(0));
}

TEST_F(UserNetworkTest, PortThatIsTakenIsAnError) {
  const Listener server(kIpv4Loopback, 9100);
  const Listener datagrams(kIpv4Loopback, 9100, SOCK_DGRAM);
  for (const bool udp : {false, true}) {
    const auto opened = UserNetwork::open(
        {.name = "net0",
         .mac = kGuestMac,
         .mtu = {},
         .spec = {.published = {{.udp = udp, .host_port = 9100, .guest_port = 80}}}});
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().kind(), ErrorKind::kBusy);
    EXPECT_EQ(opened.error().message(),
              udp ? "net0: port 127.0.0.1:9100/udp is taken: 'ss -ulnp sport = :9100' shows by whom"
                  : "net0: port 127.0.0.1:9100/tcp is taken: 'ss -tlnp sport = :9100' shows by "
                    "whom");
  }
}

TEST_F(UserNetworkTest, AddressThatTheHostDoesNotHaveIsAnError) {
  const auto opened = UserNetwork::open(
      {.name = "net0",
       .mac = kGuestMac,
       .mtu = {},
       .spec = {
           .published = {{.address = ipv4(198, 51, 100, 1), .host_port = 80, .guest_port = 80}}}});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(
      opened.error().message(),
      "net0: port 198.51.100.1:80/tcp: the host has no such address; 'ip address' lists them");
}

TEST_F(UserNetworkTest, WithoutARouteThereIsNoNetwork) {
  const UniqueFd here(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
  auto opened = UserNetwork::open({.name = "net0", .mac = kGuestMac, .mtu = {}, .spec = {}});
  ASSERT_TRUE(opened.has_value()) << opened.error().message();
  const auto ready = (*opened)->ready({});
  EXPECT_EQ(::setns(here.get(), 0), 0);
  ASSERT_FALSE(ready.has_value());
  EXPECT_EQ(ready.error().kind(), ErrorKind::kHost);
  EXPECT_EQ(ready.error().message(),
            "net0: the host has no default route, so a user-mode network leads nowhere ('ip route' "
            "shows the routes); --net none does without");
}

TEST_F(UserNetworkTest, CalledOffStartIsNotWaitedFor) {
  auto opened = UserNetwork::open({.name = "net0", .mac = kGuestMac, .mtu = {}, .spec = {}});
  ASSERT_TRUE(opened.has_value()) << opened.error().message();
  std::stop_source stop;
  stop.request_stop();
  const auto ready = (*opened)->ready(stop.get_token());
  // It may have been ready at once.
  if (!ready.has_value()) {
    EXPECT_EQ(ready.error().kind(), ErrorKind::kTimeout);
  }
}

TEST(Resolvers, AreThoseThatAGuestCanReach) {
  EXPECT_EQ(
      resolvers_in("# nameserver 9.9.9.9\nnameserver 127.0.0.53\n"
                   "search example.org\n nameserver\t192.168.1.1 # home\n"
                   "nameserver fe80::1\nnameserver 169.254.169.254\r\nnameserver 1.1.1.1"),
      (std::vector<uint32_t>{ipv4(192, 168, 1, 1), ipv4(169, 254, 169, 254), ipv4(1, 1, 1, 1)}));
  EXPECT_TRUE(resolvers_in("").empty());
  EXPECT_TRUE(resolvers_in("nameserver\nnameserver 1.2.3\nnameservers 1.2.3.4\n").empty());
  std::string many;
  for (int i = 0; i < 100; ++i) many += "nameserver 1.1.1.1\n";
  EXPECT_EQ(resolvers_in(many).size(), 3U);
}

}  // namespace
}  // namespace hull::virtio
