#include <gtest/gtest.h>

#include "config/domain_reader.h"
#include "tests/support/config_text.h"
#include "tests/support/domain_document.h"

namespace hull::config {
namespace {

using hull::testing::domain_document;
using hull::testing::lines;
using hull::testing::read_document;

DomainReading read_user(const std::string& inside) {
  return read_document(
      domain_document("<interface type='user'><model type='virtio'/>" + inside + "</interface>"));
}

UserNetworkSpec user_of(const std::string& inside) {
  const DomainReading reading = read_user(inside);
  EXPECT_EQ(lines(reading.refusals) + lines(reading.warnings), "") << inside;
  EXPECT_EQ(reading.config.networks.size(), 1U);
  return reading.config.networks.empty() ? UserNetworkSpec() : reading.config.networks[0].user;
}

// libvirt gitlab, formatdomain "Userspace (SLIRP or passt) connection".
TEST(ReadUserNetwork, NumbersAreSlirpsWithoutAnAddress) {
  const UserNetworkSpec user = user_of("<mac address='52:54:00:11:22:33'/>");
  EXPECT_EQ(format_ipv4(user.address.address), "10.0.2.15");
  EXPECT_EQ(user.address.prefix, 24U);
  EXPECT_TRUE(user.published.empty());
  EXPECT_FALSE(user.host_access);
}

TEST(ReadUserNetwork, AddressIsTheGuestsOrItsNetwork) {
  struct Case {
    const char *inside, *address;
    unsigned prefix;
  };
  for (const Case& one : std::initializer_list<Case>{
           {"<ip family='ipv4' address='172.17.2.4' prefix='24'/>", "172.17.2.4", 24},
           {"<ip address='172.17.2.0' prefix='24'/>", "172.17.2.15", 24},
           {"<ip address='172.17.0.0' prefix='16'/>", "172.17.0.15", 16},
           {"<ip address='192.168.3.8'/>", "192.168.3.8", 24},
           {"<ip address='192.168.3.8' prefix='29'/>", "192.168.3.14", 29}}) {
    const UserNetworkSpec user = user_of(one.inside);
    EXPECT_EQ(format_ipv4(user.address.address), one.address);
    EXPECT_EQ(user.address.prefix, one.prefix);
  }
}

TEST(ReadUserNetwork, PortsAreThoseOfTheRanges) {
  const UserNetworkSpec user = user_of(
      "<backend type='passt' logFile='/tmp/passt.log'/><source dev='eth7'/>"
      "<portForward proto='tcp'><range start='2022' to='22'/></portForward>"
      "<portForward proto='udp' address='127.0.0.1'><range start='5000' end='5003' to='6000'/>"
      "<range start='5001' end='5002' exclude='yes'/></portForward>"
      "<portForward proto='tcp' address='192.0.2.1'><range start='443'/></portForward>");
  EXPECT_EQ(user.interface, "eth7");
  EXPECT_EQ(
      user.published,
      (std::vector<PublishedPort>{
          {.udp = false, .address = 0, .host_port = 2022, .guest_port = 22},
          {.udp = true, .address = kIpv4Loopback, .host_port = 5000, .guest_port = 6000},
          {.udp = true, .address = kIpv4Loopback, .host_port = 5003, .guest_port = 6003},
          {.udp = false, .address = ipv4(192, 0, 2, 1), .host_port = 443, .guest_port = 443}}));
}

TEST(ReadUserNetwork, WhatCannotBeIsRefused) {
  for (const char* inside :
       {"<portForward proto='tcp'/>",  // all ports
        "<portForward proto='sctp'><range start='1'/></portForward>",
        "<portForward proto='tcp' dev='eth0'><range start='1'/></portForward>",
        "<portForward proto='tcp' address='fd00::1'><range start='1'/></portForward>",
        "<portForward proto='tcp'><range start='0'/></portForward>",
        "<portForward proto='tcp'><range start='70000'/></portForward>",
        "<portForward proto='tcp'><range start='20' end='10'/></portForward>",
        "<portForward proto='tcp'><range start='1' end='10' to='65530'/></portForward>",
        "<portForward proto='tcp'><range start='1000' end='2000'/></portForward>",
        "<portForward proto='tcp'><range start='80'/><range start='80' to='81'/></portForward>",
        "<portForward proto='tcp'><range/></portForward>",
        "<portForward proto='tcp'><range start='1' exclude='maybe'/></portForward>",
        "<ip address='127.0.0.1' prefix='8'/>", "<ip address='10.0.0.1' prefix='31'/>",
        "<ip address='10.0.0.1' prefix='7'/>", "<ip address='10.0.2.255' prefix='24'/>",
        "<ip address='ten'/>", "<mtu size='20'/>", "<source dev='a/b'/>"})
    EXPECT_FALSE(read_user(inside).accepted()) << inside;
}

TEST(ReadUserNetwork, LargeMtuBecomesTheLargestThereIs) {
  const DomainReading reading = read_user("<mtu size='65520'/>");
  EXPECT_TRUE(reading.accepted());
  EXPECT_EQ(reading.config.networks[0].mtu, 32768);
  EXPECT_NE(lines(reading.warnings), "");
}

TEST(ReadUserNetwork, OtherKindsHaveNoPorts) {
  const DomainReading reading = read_document(
      domain_document("<interface type='ethernet'><model type='virtio'/><source dev='eth0'/>"
                      "<ip address='10.0.0.1'/><portForward proto='tcp'/></interface>"));
  EXPECT_TRUE(reading.accepted());
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/interface/ip: the guest's address is not set\n"
            "/domain/devices/interface/portForward: ports are not forwarded");
  EXPECT_EQ(reading.config.networks[0].user.interface, "");
}

}  // namespace
}  // namespace hull::config
