#include "virtio/user/frame_filter.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/endian.h"
#include "virtio/user/arp.h"

namespace hull::virtio {

namespace {

// RFC 791, 3.1.
struct Ipv4Header {
  uint8_t version_and_words;
  uint8_t service;
  Be16 total_bytes;
  Be16 id;
  Be16 fragment;  // flags and offset
  uint8_t hops;
  uint8_t protocol;
  Be16 checksum;
  Be32 source;
  Be32 target;
};
static_assert(sizeof(Ipv4Header) == 20);

struct Ports {
  Be16 source;
  Be16 target;
};

constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;
// RFC 9293, 3.1.
constexpr size_t kTcpFlagsOffset = 13;
constexpr uint8_t kSyn = 0x02;
constexpr uint8_t kAck = 0x10;
constexpr uint16_t kDnsPort = 53;
constexpr uint16_t kDhcpServerPort = 67;
constexpr uint16_t kDhcpClientPort = 68;
constexpr uint32_t kEverybody = 0xffffffff;

// RFC 6890 and what it registers: never a target of a guest's in user mode.
constexpr Ipv4Network kNowhere[] = {
    {ipv4(0, 0, 0, 0), 8},       // this host: passt connects to its loopback
    {ipv4(127, 0, 0, 0), 8},     // loopback
    {ipv4(169, 254, 0, 0), 16},  // link-local: metadata of clouds
    {ipv4(224, 0, 0, 0), 4},     // multicast
    {ipv4(240, 0, 0, 0), 4},     // reserved, and broadcast
};
constexpr Ipv4Network kPrivate[] = {
    {ipv4(10, 0, 0, 0), 8},    {ipv4(172, 16, 0, 0), 12}, {ipv4(192, 168, 0, 0), 16},
    {ipv4(100, 64, 0, 0), 10}, {ipv4(192, 0, 0, 0), 24},  {ipv4(198, 18, 0, 0), 15},
};

template <class T>
std::optional<T> take(std::span<const uint8_t>& bytes) {
  if (bytes.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes = bytes.subspan(sizeof value);
  return value;
}

bool is_in(std::span<const Ipv4Network> networks, uint32_t address) {
  return std::ranges::any_of(networks,
                             [&](const Ipv4Network& one) { return one.contains(address); });
}

}  // namespace

struct FrameFilter::Packet {
  Ipv4Header header;
  bool whole;                  // not a fragment
  std::optional<Ports> ports;  // of TCP and UDP, unless they are in another fragment
  uint8_t tcp_flags;           // of TCP whose flags are there, else kSyn
  bool is_to(uint8_t protocol, uint16_t port) const {
    return whole && header.protocol == protocol && ports && ports->target == port;
  }
};

std::optional<FrameFilter::Packet> FrameFilter::parse(std::span<const uint8_t> ip) {
  std::span<const uint8_t> rest = ip;
  const auto header = take<Ipv4Header>(rest);
  if (!header || header->version_and_words >> 4 != 4) return std::nullopt;
  const size_t header_bytes = size_t{4} * (header->version_and_words & 0xf);
  if (header_bytes < sizeof *header || header_bytes > ip.size()) return std::nullopt;
  Packet packet{
      .header = *header, .whole = (header->fragment & 0x3fff) == 0, .ports = {}, .tcp_flags = kSyn};
  rest = ip.subspan(header_bytes);
  if (!packet.whole) return packet;
  if (header->protocol == kTcp && rest.size() > kTcpFlagsOffset)
    packet.tcp_flags = rest[kTcpFlagsOffset];
  if (header->protocol == kTcp || header->protocol == kUdp) packet.ports = take<Ports>(rest);
  return packet;
}

std::string_view FrameFilter::refuse(std::span<const uint8_t> head) const {
  const auto ethernet = take<EthernetHeader>(head);
  if (!ethernet) return "too short";
  if (!std::ranges::equal(ethernet->source, rules_.mac)) return "forged MAC address";
  if (ethernet->type == kArpType) return refuse_arp(head);
  if (ethernet->type != kIpv4Type) return "neither IPv4 nor ARP";
  const auto packet = parse(head);
  return packet ? refuse_packet(*packet) : "no IPv4 packet";
}

bool FrameFilter::is_published(bool udp, uint16_t guest_port) const {
  return std::ranges::any_of(rules_.published, [&](const PublishedPort& port) {
    return port.udp == udp && port.guest_port == guest_port;
  });
}

void FrameFilter::hear(std::span<const uint8_t> frame) {
  const auto ethernet = take<EthernetHeader>(frame);
  if (!ethernet || ethernet->type != kIpv4Type || rules_.published.empty()) return;
  const auto packet = parse(frame);
  if (!packet || packet->header.protocol != kUdp || !packet->ports ||
      !is_published(true, packet->ports->target))
    return;
  const Sender sender{.address = packet->header.source,
                      .port = packet->ports->source,
                      .guest_port = packet->ports->target};
  if (std::ranges::find(senders_, sender) != senders_.end()) return;
  senders_[next_sender_] = sender;
  next_sender_ = (next_sender_ + 1) % kSenders;
}

// Of a published port, to one who came to it. A connection is not begun by an answer; passt takes
// none for one that it does not know.
bool FrameFilter::is_answer(const Packet& packet) const {
  if (!packet.ports) return false;
  const bool udp = packet.header.protocol == kUdp;
  if (!is_published(udp, packet.ports->source)) return false;
  if (!udp) return (packet.tcp_flags & (kSyn | kAck)) != kSyn;
  const Sender sender{.address = packet.header.target,
                      .port = packet.ports->target,
                      .guest_port = packet.ports->source};
  return std::ranges::find(senders_, sender) != senders_.end();
}

std::string_view FrameFilter::refuse_arp(std::span<const uint8_t> arp) const {
  const auto body = take<ArpBody>(arp);
  if (!body || body->hardware != 1 || body->protocol != kIpv4Type || body->hardware_bytes != 6 ||
      body->protocol_bytes != 4)
    return "ARP of another network";
  if (!std::ranges::equal(body->sender_mac, rules_.mac)) return "forged MAC address in ARP";
  // A probe has no sender (RFC 5227).
  if (body->sender != 0 && body->sender != rules_.address.address) return "forged address in ARP";
  return {};
}

bool FrameFilter::is_for_resolver(const Packet& packet) const {
  return (packet.is_to(kUdp, kDnsPort) || packet.is_to(kTcp, kDnsPort)) &&
         std::ranges::find(rules_.resolvers, packet.header.target.get()) != rules_.resolvers.end();
}

std::string_view FrameFilter::refuse_packet(const Packet& packet) const {
  const uint32_t source = packet.header.source;
  const uint32_t target = packet.header.target;
  const bool dhcp = packet.is_to(kUdp, kDhcpServerPort) &&
                    packet.ports->source == kDhcpClientPort &&
                    (target == kEverybody || target == rules_.gateway);
  if (source != rules_.address.address && !(source == 0 && dhcp)) return "forged address";
  if (dhcp) return {};
  if (target == rules_.gateway) {
    const bool dns = packet.is_to(kUdp, kDnsPort) || packet.is_to(kTcp, kDnsPort);
    return dns || rules_.host_access || is_answer(packet) ? "" : "to the host";
  }
  if (is_for_resolver(packet)) return {};
  if (is_in(kNowhere, target)) return "to an address of no network";
  if (target == rules_.address.address || target == rules_.address.first() ||
      target == rules_.address.broadcast())
    return "to nobody";
  if (rules_.internet_only && is_in(kPrivate, target) && !is_answer(packet))
    return "to a private network";
  return {};
}

}  // namespace hull::virtio
