// What a guest in user mode may send. passt itself checks neither the sender of a frame nor that
// its target is no address of the host's loopback, to which it would connect.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/user_network.h"

namespace hull::virtio {

struct FrameRules {
  std::array<uint8_t, 6> mac{};       // of the guest, the only sender
  Ipv4Network address{};              // of the guest, the only sender, and its network
  uint32_t gateway = 0;               // behind it is the host's loopback
  std::vector<uint32_t> resolvers{};  // beside the gateway; reached on port 53 wherever they are
  bool host_access = false;           // all of the gateway's ports, not DNS and DHCP alone
  bool internet_only = false;         // no private or shared addresses (RFC 1918, 6598)
  std::vector<PublishedPort> published{};  // whoever comes by them is answered, wherever he is
};

class FrameFilter {
 public:
  // Of a frame, what has to be seen of it: Ethernet, IPv4 with all options, TCP up to its flags.
  static constexpr size_t kMaxHeadBytes = 14 + 60 + 14;

  explicit FrameFilter(FrameRules rules) : rules_(std::move(rules)) {}

  // `head`: the first kMaxHeadBytes of an Ethernet frame without FCS, or all of it, which nobody
  // else can change meanwhile. Why it must not leave; empty: it may.
  std::string_view refuse(std::span<const uint8_t> head) const;

  // A frame for the guest: who sends something to a published port may be answered.
  void hear(std::span<const uint8_t> frame);

 private:
  struct Packet;
  // UDP has no connections: the last ones who have sent something.
  struct Sender {
    uint32_t address = 0;
    uint16_t port = 0;
    uint16_t guest_port = 0;  // 0: nobody
    bool operator==(const Sender&) const = default;
  };
  static constexpr size_t kSenders = 256;

  static std::optional<Packet> parse(std::span<const uint8_t> ip);
  bool is_published(bool udp, uint16_t guest_port) const;
  bool is_answer(const Packet& packet) const;
  std::string_view refuse_arp(std::span<const uint8_t> arp) const;
  std::string_view refuse_packet(const Packet& packet) const;
  bool is_for_resolver(const Packet& packet) const;

  const FrameRules rules_;
  std::array<Sender, kSenders> senders_{};
  size_t next_sender_ = 0;  // the oldest
};

}  // namespace hull::virtio
