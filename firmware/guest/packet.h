// Ethernet, ARP (RFC 826), IPv4 (RFC 791), ICMP echo (RFC 792): as much as answering and sending
// pings takes.
#pragma once

#include <cstdint>

#include "firmware/guest/net.h"

namespace hull::guest {

// Big-endian on the wire, at any alignment.
struct Be16 {
  uint8_t bytes[2];
  void set(uint32_t value) {
    bytes[0] = static_cast<uint8_t>(value >> 8);
    bytes[1] = static_cast<uint8_t>(value);
  }
  uint32_t get() const { return (uint32_t{bytes[0]} << 8) | bytes[1]; }
};
struct Be32 {
  Be16 high, low;
  void set(uint32_t value) {
    high.set(value >> 16);
    low.set(value);
  }
  uint32_t get() const { return (high.get() << 16) | low.get(); }
};

struct EthernetHeader {
  Mac to;
  Mac from;
  Be16 type;
};
struct ArpPacket {
  EthernetHeader ethernet;
  Be16 hardware, protocol;
  uint8_t hardware_size, protocol_size;
  Be16 operation;
  Mac sender_mac;
  Be32 sender_ip;
  Mac target_mac;
  Be32 target_ip;
};
struct Ipv4Header {
  uint8_t version_and_length, service;
  Be16 length, id, fragment;
  uint8_t ttl, protocol;
  Be16 checksum;
  Be32 from, to;
};
struct IcmpPacket {
  EthernetHeader ethernet;
  Ipv4Header ip;
  uint8_t type, code;
  Be16 checksum, id, sequence;
};
struct UdpPacket {
  EthernetHeader ethernet;
  Ipv4Header ip;
  Be16 from_port, to_port, length, checksum;
};
struct TcpPacket {
  EthernetHeader ethernet;
  Ipv4Header ip;
  Be16 from_port, to_port;
  Be32 sequence, acknowledged;
  uint8_t data_offset, flags;
  Be16 window, checksum, urgent;
};
static_assert(sizeof(ArpPacket) == 42 && sizeof(IcmpPacket) == 42 && sizeof(UdpPacket) == 42 &&
              sizeof(TcpPacket) == 54);

inline constexpr uint32_t kTypeIpv4 = 0x0800;
inline constexpr uint32_t kTypeArp = 0x0806;
inline constexpr uint32_t kArpRequest = 1;
inline constexpr uint32_t kArpReply = 2;
inline constexpr uint8_t kProtocolIcmp = 1;
inline constexpr uint8_t kProtocolTcp = 6;
inline constexpr uint8_t kProtocolUdp = 17;
inline constexpr uint8_t kEchoReply = 0;
inline constexpr uint8_t kEchoRequest = 8;
inline constexpr Mac kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

struct Endpoint {
  Mac mac;
  uint32_t ip;
};

// RFC 1071, over the bytes and what was summed before (not yet complemented).
uint32_t add_to_checksum(uint32_t sum, const void* bytes, uint32_t size);
uint16_t fold_checksum(uint32_t sum);

void make_arp(ArpPacket& packet, uint32_t operation, const Endpoint& from, const Endpoint& to);
// Ethernet and IPv4 headers, for `payload` bytes behind them.
void make_ipv4(EthernetHeader& ethernet, Ipv4Header& ip, uint8_t protocol, uint32_t payload,
               const Endpoint& from, const Endpoint& to);
// The bytes behind the header are the caller's; `size` is that of the whole frame.
void make_echo_request(IcmpPacket& packet, uint32_t size, uint32_t sequence, const Endpoint& from,
                       const Endpoint& to);

// If the frame asks `self` something (who-has, echo), writes the answer and returns its size;
// otherwise 0.
uint32_t make_answer(const uint8_t* frame, uint32_t size, const Endpoint& self, uint8_t* answer);

}  // namespace hull::guest
