#include "tools/hull/user_network_words.h"

#include <gtest/gtest.h>

#include "tools/hull/device_words.h"

namespace hull::cli {
namespace {

std::string shown(const std::vector<PublishedPort>& ports) {
  std::string text;
  for (const PublishedPort& port : ports)
    text += fmt::format("{}{}>{}", text.empty() ? "" : " ", describe(port), port.guest_port);
  return text;
}

std::string published(std::string_view text) {
  const auto ports = parse_publish(text);
  return ports ? shown(*ports) : "error: " + ports.error().message();
}

// The ports of a --net.
std::string of_net(const std::string& text) {
  const auto network = parse_network(text);
  if (!network) return "error: " + network.error().message();
  EXPECT_EQ((*network)->kind, config::NetworkKind::kUser);
  return shown((*network)->user.published);
}

// What Docker's and Podman's users type.
TEST(Publish, IsSpelledAsForContainers) {
  EXPECT_EQ(published("8080:80"), "127.0.0.1:8080/tcp>80");
  EXPECT_EQ(published("8080:80/tcp"), "127.0.0.1:8080/tcp>80");
  EXPECT_EQ(published("5353:53/udp"), "127.0.0.1:5353/udp>53");
  EXPECT_EQ(published("0.0.0.0:8080:80"), "0.0.0.0:8080/tcp>80");
  EXPECT_EQ(published("192.0.2.1::80"), "192.0.2.1:0/tcp>80");
  EXPECT_EQ(published("80"), "127.0.0.1:0/tcp>80");
  EXPECT_EQ(published(":80"), "127.0.0.1:0/tcp>80");
  EXPECT_EQ(published("8000-8002:80-82"),
            "127.0.0.1:8000/tcp>80 127.0.0.1:8001/tcp>81 127.0.0.1:8002/tcp>82");
  EXPECT_EQ(published("80-81/udp"), "127.0.0.1:0/udp>80 127.0.0.1:0/udp>81");
}

TEST(Publish, MistakesAreNamed) {
  EXPECT_EQ(published(""), "error: '' is not a port, 1 to 65535");
  EXPECT_EQ(published("0"), "error: '0' is not a port, 1 to 65535");
  EXPECT_EQ(published("65536:1"), "error: '65536' is not a port, 1 to 65535");
  EXPECT_EQ(published("80:"), "error: '' is not a port, 1 to 65535");
  EXPECT_EQ(published("80:http"), "error: 'http' is not a port, 1 to 65535");
  EXPECT_EQ(published("-1:80"), "error: '' is not a port, 1 to 65535");
  EXPECT_EQ(published("host:80:80"), "error: 'host' is not an IPv4 address");
  EXPECT_EQ(published("1.2.3:80:80"), "error: '1.2.3' is not an IPv4 address");
  EXPECT_EQ(published("[::1]:80:80"),
            "error: '[::1]:80:80': a user-mode network publishes on IPv4 addresses");
  EXPECT_EQ(published("80:80/sctp"), "error: '/sctp': say /tcp or /udp");
  EXPECT_EQ(published("9-8"), "error: '9-8' ends before it begins");
  EXPECT_EQ(published("1-2:1-3"), "error: 1-2 and 1-3 are not as many ports");
  EXPECT_EQ(published("1-65535"), "error: 65535 ports: at most 256");
  EXPECT_EQ(published("127.0.0.1:80"),
            "error: '127.0.0.1:80': two colons after an address: 127.0.0.1::80");
}

TEST(UserNetworkWords, AreThoseOfQemuAndVirtInstallToo) {
  EXPECT_EQ(of_net("user,publish=8080:80,publish=53/udp"),
            "127.0.0.1:8080/tcp>80 127.0.0.1:0/udp>53");
  EXPECT_EQ(of_net("user,hostfwd=tcp::2222-:22"), "127.0.0.1:2222/tcp>22");
  EXPECT_EQ(of_net("user,hostfwd=tcp:0.0.0.0:2222-10.0.2.15:22"), "0.0.0.0:2222/tcp>22");
  EXPECT_EQ(of_net("user,hostfwd=udp:127.0.0.1:53-:5353"), "127.0.0.1:53/udp>5353");
  EXPECT_EQ(of_net("user,hostfwd=::2222-:22"), "127.0.0.1:2222/tcp>22");
  EXPECT_EQ(of_net("passt,portForward=2222:22"), "127.0.0.1:2222/tcp>22");
  EXPECT_EQ(of_net("passt,portForward0=127.0.0.1:8022:22,portForward1=80"),
            "127.0.0.1:8022/tcp>22 127.0.0.1:0/tcp>80");
  EXPECT_EQ(of_net("passt,portForward0.proto=tcp,portForward0.range0.start=2222,"
                   "portForward0.range0.to=22"),
            "127.0.0.1:2222/tcp>22");
  EXPECT_EQ(of_net("user,portForward.proto=udp,portForward.address=0.0.0.0,"
                   "portForward.range.start=5000,portForward.range.end=5001"),
            "0.0.0.0:5000/udp>5000 0.0.0.0:5001/udp>5001");
}

TEST(UserNetworkWords, DescribeTheNetwork) {
  const auto network = parse_network(
      "user,address=192.168.9.4/16,dns=9.9.9.9,dns=1.1.1.1,host=on,mtu=1400,"
      "interface=eth3,restrict=internet,mac=52:54:00:01:02:03");
  ASSERT_TRUE(network.has_value()) << network.error().message();
  const UserNetworkSpec& user = (*network)->user;
  EXPECT_EQ(format_ipv4(user.address.address), "192.168.9.4");
  EXPECT_EQ(user.address.prefix, 16U);
  EXPECT_EQ(user.resolvers, (std::vector<uint32_t>{ipv4(9, 9, 9, 9), ipv4(1, 1, 1, 1)}));
  EXPECT_TRUE(user.host_access);
  EXPECT_TRUE(user.internet_only);
  EXPECT_EQ(user.interface, "eth3");
  EXPECT_EQ((*network)->mtu, 1400);
}

TEST(UserNetworkWords, MistakesAreNamed) {
  EXPECT_EQ(of_net("user,hostfwd=tcp:22"),
            "error: 'tcp:22': hostfwd= is tcp|udp:[ADDRESS]:PORT-:PORT");
  EXPECT_EQ(of_net("user,hostfwd=sctp::1-:2"),
            "error: 'sctp::1-:2': hostfwd= is tcp|udp:[ADDRESS]:PORT-:PORT");
  EXPECT_EQ(of_net("user,hostfwd=tcp::1-10.0.2.3:2"),
            "error: hostfwd= leads to the guest itself; leave '10.0.2.3' out");
  EXPECT_EQ(of_net("user,hostfwd=tcp::0-:2"), "error: '0' is not a port, 1 to 65535");
  EXPECT_EQ(of_net("user,guestfwd=tcp:10.0.2.100:80-cmd:x"),
            "error: guestfwd= is not there; host=on opens the host's loopback as the gateway's "
            "ports");
  EXPECT_EQ(of_net("user,restrict=on"),
            "error: restrict=on: 'internet' (no private networks) is what there is");
  EXPECT_EQ(of_net("user,host=maybe"), "error: host=maybe: say on or off");
  EXPECT_EQ(of_net("user,address=ten"), "error: 'ten' is not an IPv4 address");
  EXPECT_EQ(of_net("user,portForward0.range0.end=5"), "error: portForward0: range0 is no range");
  EXPECT_EQ(of_net("user,portForward0.colour=red"),
            "error: 'colour=red' is not known (proto=tcp|udp, address=, rangeN.start=, .end=, "
            ".to=)");
  EXPECT_EQ(of_net("user,ifname=tap0"),
            "error: ifname= is of --net tap; packets leave by interface=IF");
  EXPECT_EQ(of_net("user,bridge=br0"), "error: bridge= is of --net tap");
  EXPECT_EQ(of_net("tap,publish=80"), "error: publish= is of --net user");
  EXPECT_EQ(of_net("slirp"), "error: 'slirp' is no kind of network (none, user, tap, null)");
}

}  // namespace
}  // namespace hull::cli
