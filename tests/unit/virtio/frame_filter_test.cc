#include "virtio/user/frame_filter.h"

#include <gtest/gtest.h>

#include "base/user_network.h"
#include "tests/support/ip_frames.h"

namespace hull::virtio {
namespace {

using testing::bytes_of;
using testing::kGuestMac;
using testing::kIcmp;
using testing::kTcp;
using testing::kUdp;
using testing::make_packet;
using testing::PacketSpec;

constexpr uint32_t kGuest = ipv4(10, 0, 2, 15);
constexpr uint32_t kGateway = ipv4(10, 0, 2, 2);
constexpr uint32_t kWorld = ipv4(203, 0, 113, 7);

FrameRules rules() { return {.mac = kGuestMac, .address = {kGuest, 24}, .gateway = kGateway}; }

std::string_view refuse(const FrameRules& rules, std::span<const uint8_t> frame) {
  return FrameFilter(rules).refuse(frame.first(std::min(frame.size(), FrameFilter::kMaxHeadBytes)));
}

std::string_view refuse(const PacketSpec& spec, const FrameRules& given = rules()) {
  return refuse(given, make_packet(spec));
}

TEST(FrameFilter, WorldAndNeighboursAreReached) {
  for (const uint32_t target :
       {kWorld, ipv4(192, 168, 1, 1), ipv4(172, 16, 0, 9), ipv4(10, 0, 2, 3),
        ipv4(126, 255, 255, 255), ipv4(128, 0, 0, 1), ipv4(169, 253, 255, 255),
        ipv4(169, 255, 0, 0), ipv4(223, 255, 255, 255), ipv4(1, 0, 0, 0)})
    for (const uint8_t protocol : {kTcp, kUdp, kIcmp})
      EXPECT_EQ(refuse({.target = target, .protocol = protocol}), "") << format_ipv4(target);
}

TEST(FrameFilter, AddressesOfNoNetworkAreNot) {
  for (const uint32_t target :
       {ipv4(127, 0, 0, 1), ipv4(127, 0, 0, 53), ipv4(127, 255, 255, 255), ipv4(0, 0, 0, 0),
        ipv4(0, 1, 2, 3), ipv4(169, 254, 169, 254), ipv4(169, 254, 0, 1), ipv4(224, 0, 0, 1),
        ipv4(239, 255, 255, 250), ipv4(240, 0, 0, 1), ipv4(255, 255, 255, 255)})
    for (const uint8_t protocol : {kTcp, kUdp, kIcmp})
      for (const bool host : {false, true}) {
        FrameRules given = rules();
        given.host_access = host;
        EXPECT_EQ(refuse({.target = target, .protocol = protocol, .target_port = 53}, given),
                  "to an address of no network")
            << format_ipv4(target);
      }
}

TEST(FrameFilter, ItsOwnAndItsNetworksAddressesAreNobody) {
  for (const uint32_t target : {kGuest, ipv4(10, 0, 2, 0), ipv4(10, 0, 2, 255)})
    EXPECT_EQ(refuse({.target = target}), "to nobody");
}

TEST(FrameFilter, GatewayAnswersDnsAndDhcpAlone) {
  EXPECT_EQ(refuse({.target = kGateway, .target_port = 53}), "");
  EXPECT_EQ(refuse({.target = kGateway, .protocol = kUdp, .target_port = 53}), "");
  EXPECT_EQ(refuse({.target = kGateway, .protocol = kUdp, .source_port = 68, .target_port = 67}),
            "");
  for (const auto port : std::initializer_list<uint16_t>{0, 22, 52, 54, 67, 80, 53 << 8})
    for (const uint8_t protocol : {kTcp, kUdp, kIcmp})
      EXPECT_EQ(refuse({.target = kGateway, .protocol = protocol, .target_port = port}),
                "to the host")
          << port;
}

TEST(FrameFilter, PortsOfFragmentsAreNotBelieved) {
  for (const auto fragment : std::initializer_list<uint16_t>{0x2000, 0x0001, 0x1fff})
    EXPECT_EQ(refuse({.target = kGateway, .target_port = 53, .fragment = fragment}), "to the host");
  EXPECT_EQ(refuse({.target = kGateway, .target_port = 53, .fragment = 0x4000}), "");
}

TEST(FrameFilter, PortsAreFoundBehindOptions) {
  for (uint8_t words = 5; words <= 15; ++words) {
    EXPECT_EQ(refuse({.target = kGateway, .target_port = 53, .words = words}), "");
    EXPECT_EQ(refuse({.target = kGateway, .target_port = 80, .words = words}), "to the host");
  }
}

TEST(FrameFilter, HostAccessOpensTheGatewayAlone) {
  FrameRules given = rules();
  given.host_access = true;
  EXPECT_EQ(refuse({.target = kGateway, .target_port = 22}, given), "");
  EXPECT_EQ(refuse({.target = kGateway, .protocol = kIcmp}, given), "");
  EXPECT_NE(refuse({.target = kIpv4Loopback, .target_port = 22}, given), "");
}

constexpr uint8_t kSyn = 2;
constexpr uint8_t kAck = 16;

TEST(FrameFilter, PublishedPortAnswersAndBeginsNothing) {
  FrameRules given = rules();
  given.published = {{.host_port = 8080, .guest_port = 80}};
  given.internet_only = true;
  for (const uint32_t target : {kGateway, ipv4(192, 168, 1, 9)}) {
    for (const auto flags : std::initializer_list<uint8_t>{kAck, kSyn | kAck, 4, 1 | kAck, 0})
      EXPECT_EQ(
          refuse({.target = target, .source_port = 80, .target_port = 999, .tcp_flags = flags},
                 given),
          "");
    for (const auto flags : std::initializer_list<uint8_t>{kSyn, kSyn | 1, kSyn | 8})
      EXPECT_NE(
          refuse({.target = target, .source_port = 80, .target_port = 999, .tcp_flags = flags},
                 given),
          "");
    EXPECT_NE(
        refuse({.target = target, .source_port = 81, .target_port = 999, .tcp_flags = kAck}, given),
        "");
    EXPECT_NE(
        refuse({.target = target, .protocol = kUdp, .source_port = 80, .target_port = 999}, given),
        "");
  }
  EXPECT_NE(refuse({.target = kIpv4Loopback, .source_port = 80, .tcp_flags = kAck}, given), "");
}

TEST(FrameFilter, FlagsThatAreCutOffAreThoseOfAFirstSegment) {
  FrameRules given = rules();
  given.published = {{.host_port = 8080, .guest_port = 80}};
  auto frame = make_packet({.target = kGateway, .source_port = 80, .words = 15, .tcp_flags = kAck});
  EXPECT_EQ(refuse(given, frame), "");
  frame.resize(14 + 60 + 13);
  EXPECT_EQ(refuse(given, frame), "to the host");
}

TEST(FrameFilter, PublishedUdpPortAnswersThoseWhoCame) {
  FrameRules given = rules();
  given.published = {{.udp = true, .host_port = 5353, .guest_port = 53}};
  FrameFilter filter(given);
  const auto answer = [&](uint32_t target, uint16_t port) {
    return filter.refuse(
        make_packet({.target = target, .protocol = kUdp, .source_port = 53, .target_port = port}));
  };
  const auto come = [&](uint32_t source, uint16_t port, uint16_t to) {
    filter.hear(make_packet({.source = source,
                             .target = kGuest,
                             .protocol = kUdp,
                             .source_port = port,
                             .target_port = to}));
  };
  EXPECT_EQ(answer(kGateway, 1000), "to the host");
  come(kGateway, 1000, 54);  // not published
  EXPECT_EQ(answer(kGateway, 1000), "to the host");
  come(kGateway, 1000, 53);
  EXPECT_EQ(answer(kGateway, 1000), "");
  EXPECT_EQ(answer(kGateway, 1001), "to the host");
  // The last 256 are known.
  for (uint16_t i = 0; i < 256; ++i) come(kGateway, static_cast<uint16_t>(2000 + i), 53);
  EXPECT_EQ(answer(kGateway, 1000), "to the host");
  for (uint16_t i = 0; i < 256; ++i)
    EXPECT_EQ(answer(kGateway, static_cast<uint16_t>(2000 + i)), "");
}

TEST(FrameFilter, ResolversAreReachedWhereverTheyAre) {
  FrameRules given = rules();
  given.resolvers = {ipv4(169, 254, 169, 254), ipv4(192, 168, 1, 1)};
  given.internet_only = true;
  for (const uint32_t resolver : given.resolvers) {
    for (const uint8_t protocol : {kTcp, kUdp})
      EXPECT_EQ(refuse({.target = resolver, .protocol = protocol, .target_port = 53}, given), "");
    EXPECT_NE(refuse({.target = resolver, .target_port = 80}, given), "");
    EXPECT_NE(refuse({.target = resolver, .protocol = kIcmp, .target_port = 53}, given), "");
    EXPECT_NE(refuse({.target = resolver, .target_port = 53, .fragment = 1}, given), "");
  }
}

TEST(FrameFilter, InternetAloneHasNoPrivateNetworks) {
  FrameRules given = rules();
  given.internet_only = true;
  for (const uint32_t target :
       {ipv4(10, 0, 0, 1), ipv4(10, 255, 0, 1), ipv4(172, 16, 0, 1), ipv4(172, 31, 255, 1),
        ipv4(192, 168, 77, 1), ipv4(100, 64, 0, 1), ipv4(100, 127, 1, 1), ipv4(198, 18, 0, 1)})
    EXPECT_EQ(refuse({.target = target}, given), "to a private network") << format_ipv4(target);
  for (const uint32_t target : {kWorld, ipv4(172, 15, 0, 1), ipv4(172, 32, 0, 1),
                                ipv4(100, 128, 0, 1), ipv4(11, 0, 0, 1), ipv4(192, 169, 0, 1)})
    EXPECT_EQ(refuse({.target = target}, given), "") << format_ipv4(target);
  EXPECT_EQ(refuse({.target = kGateway, .target_port = 53}, given), "");
}

TEST(FrameFilter, SendersAreNotForged) {
  testing::Mac other = kGuestMac;
  other[5] ^= 1;
  EXPECT_EQ(refuse({.target = kWorld, .source_mac = other}), "forged MAC address");
  for (const uint32_t source : {ipv4(10, 0, 2, 16), kGateway, uint32_t{0}, kIpv4Loopback, kWorld})
    EXPECT_EQ(refuse({.source = source, .target = kWorld}), "forged address");
}

TEST(FrameFilter, WhoHasNoAddressAsksForOne) {
  const PacketSpec ask{
      .source = 0, .target = 0xffffffff, .protocol = kUdp, .source_port = 68, .target_port = 67};
  EXPECT_EQ(refuse(ask), "");
  PacketSpec again = ask;
  again.source = kGuest;
  EXPECT_EQ(refuse(again), "");
  for (int which = 0; which < 4; ++which) {
    PacketSpec wrong = ask;
    switch (which) {
      case 0: wrong.source_port = 67; break;
      case 1: wrong.target_port = 68; break;
      case 2: wrong.protocol = kTcp; break;
      default: wrong.target = kWorld; break;
    }
    EXPECT_NE(refuse(wrong), "") << which;
  }
}

TEST(FrameFilter, ArpIsOfTheGuestItself) {
  const ArpFrame good = ask_for(kGuestMac, kGuest, kGateway);
  EXPECT_EQ(refuse(rules(), bytes_of(good)), "");
  EXPECT_EQ(refuse(rules(), bytes_of(ask_for(kGuestMac, 0, kGuest))), "");  // a probe
  EXPECT_EQ(refuse(rules(), bytes_of(ask_for(kGuestMac, kGateway, kGuest))),
            "forged address in ARP");
  ArpFrame forged = good;
  forged.body.sender_mac[0] ^= 2;
  EXPECT_EQ(refuse(rules(), bytes_of(forged)), "forged MAC address in ARP");
  for (int field = 0; field < 4; ++field) {
    ArpFrame other = good;
    if (field == 0) other.body.hardware = uint16_t{6};
    if (field == 1) other.body.protocol = uint16_t{0x86dd};
    if (field == 2) other.body.hardware_bytes = 8;
    if (field == 3) other.body.protocol_bytes = 16;
    EXPECT_EQ(refuse(rules(), bytes_of(other)), "ARP of another network");
  }
}

TEST(FrameFilter, OtherProtocolsStay) {
  for (const auto type :
       std::initializer_list<uint16_t>{0x86dd, 0x8100, 0x88a8, 0x0000, 0x05dc, 0x0008})
    EXPECT_EQ(refuse({.target = kWorld, .type = type}), "neither IPv4 nor ARP");
}

// Each prefix of a frame is judged without a look behind its end, and never better than the whole.
TEST(FrameFilter, FramesThatAreCutAreNotBelieved) {
  const auto dns = make_packet({.target = kGateway, .target_port = 53, .words = 15});
  const auto arp = bytes_of(ask_for(kGuestMac, kGuest, kGateway));
  const size_t needed = 14 + 60 + 4;
  for (size_t bytes = 0; bytes < needed; ++bytes) {
    const std::vector<uint8_t> cut(dns.begin(), dns.begin() + static_cast<ptrdiff_t>(bytes));
    EXPECT_NE(refuse(rules(), cut), "") << bytes;
  }
  for (size_t bytes = 0; bytes < arp.size(); ++bytes) {
    const std::vector<uint8_t> cut(arp.begin(), arp.begin() + static_cast<ptrdiff_t>(bytes));
    EXPECT_NE(refuse(rules(), cut), "") << bytes;
  }
}

TEST(FrameFilter, HeadersThatAreTooShortAreNone) {
  for (uint8_t words = 0; words < 5; ++words) {
    auto frame = make_packet({.target = kWorld});
    frame[14] = 0x40 | words;
    EXPECT_EQ(refuse(rules(), frame), "no IPv4 packet");
  }
  auto frame = make_packet({.target = kWorld});
  frame[14] = 0x65;
  EXPECT_EQ(refuse(rules(), frame), "no IPv4 packet");
}

TEST(UserNetworkSpec, GatewayIsNeverTheGuest) {
  EXPECT_EQ(user_gateway({kGuest, 24}), kGateway);
  EXPECT_EQ(user_gateway({ipv4(10, 0, 2, 2), 24}), ipv4(10, 0, 2, 1));
  EXPECT_EQ(user_gateway({ipv4(192, 168, 5, 1), 30}), ipv4(192, 168, 5, 2));
  EXPECT_EQ(user_gateway({ipv4(172, 20, 200, 9), 12}), ipv4(172, 16, 0, 2));
}

}  // namespace
}  // namespace hull::virtio
