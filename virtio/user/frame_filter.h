// What a guest in user mode may send. passt itself checks neither the sender of a frame nor that
// its target is no address of the host's loopback, to which it would connect.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/ipv4.h"

namespace hull::virtio {

struct FrameRules {
  std::array<uint8_t, 6> mac{};       // of the guest, the only sender
  Ipv4Network address{};              // of the guest, the only sender, and its network
  uint32_t gateway = 0;               // behind it is the host's loopback
  std::vector<uint32_t> resolvers{};  // beside the gateway; reached on port 53 wherever they are
  bool host_access = false;           // all of the gateway's ports, not DNS and DHCP alone
  bool internet_only = false;         // no private or shared addresses (RFC 1918, 6598)
};

class FrameFilter {
 public:
  // Of a frame, what has to be seen of it: Ethernet, IPv4 with all options, ports.
  static constexpr size_t kMaxHeadBytes = 14 + 60 + 4;

  explicit FrameFilter(FrameRules rules) : rules_(std::move(rules)) {}

  // `head`: the first kMaxHeadBytes of an Ethernet frame without FCS, or all of it, which nobody
  // else can change meanwhile. Why it must not leave; empty: it may.
  std::string_view refuse(std::span<const uint8_t> head) const;

 private:
  struct Packet;
  std::string_view refuse_arp(std::span<const uint8_t> arp) const;
  std::string_view refuse_packet(const Packet& packet) const;
  bool is_for_resolver(const Packet& packet) const;

  const FrameRules rules_;
};

}  // namespace hull::virtio
