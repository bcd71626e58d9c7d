#include "firmware/guest/packet.h"

#include <cstring>

namespace hull::guest {
namespace {

constexpr uint32_t kIcmpOffset = sizeof(EthernetHeader) + sizeof(Ipv4Header);

void set_icmp_checksum(IcmpPacket& packet, uint32_t size) {
  packet.checksum.set(0);
  packet.checksum.set(fold_checksum(add_to_checksum(0, &packet.type, size - kIcmpOffset)));
}

uint32_t answer_arp(const uint8_t* frame, uint32_t size, const Endpoint& self, uint8_t* answer) {
  const auto& request = *reinterpret_cast<const ArpPacket*>(frame);
  if (size < sizeof(ArpPacket) || request.operation.get() != kArpRequest) return 0;
  if (request.target_ip.get() != self.ip) return 0;
  make_arp(*reinterpret_cast<ArpPacket*>(answer), kArpReply, self,
           {request.sender_mac, request.sender_ip.get()});
  return sizeof(ArpPacket);
}

uint32_t answer_echo(const uint8_t* frame, uint32_t size, const Endpoint& self, uint8_t* answer) {
  const auto& request = *reinterpret_cast<const IcmpPacket*>(frame);
  if (size < sizeof(IcmpPacket) || request.ip.version_and_length != 0x45) return 0;
  const uint32_t length = request.ip.length.get() + static_cast<uint32_t>(sizeof(EthernetHeader));
  if (request.ip.protocol != kProtocolIcmp || request.type != kEchoRequest) return 0;
  if (request.ip.to.get() != self.ip || length > size || length < sizeof(IcmpPacket)) return 0;
  memcpy(answer, frame, length);
  auto& reply = *reinterpret_cast<IcmpPacket*>(answer);
  const Endpoint to{request.ethernet.from, request.ip.from.get()};
  make_ipv4(reply.ethernet, reply.ip, kProtocolIcmp, length - kIcmpOffset, self, to);
  reply.type = kEchoReply;
  set_icmp_checksum(reply, length);
  return length;
}

}  // namespace

uint32_t add_to_checksum(uint32_t sum, const void* bytes, uint32_t size) {
  const auto* at = static_cast<const uint8_t*>(bytes);
  for (uint32_t i = 0; i < size; i++) sum += (i & 1) != 0 ? uint32_t{at[i]} : uint32_t{at[i]} << 8;
  return sum;
}

uint16_t fold_checksum(uint32_t sum) {
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

void make_arp(ArpPacket& packet, uint32_t operation, const Endpoint& from, const Endpoint& to) {
  packet.ethernet.to = operation == kArpRequest ? kBroadcast : to.mac;
  packet.ethernet.from = from.mac;
  packet.ethernet.type.set(kTypeArp);
  packet.hardware.set(1);
  packet.protocol.set(kTypeIpv4);
  packet.hardware_size = 6;
  packet.protocol_size = 4;
  packet.operation.set(operation);
  packet.sender_mac = from.mac;
  packet.sender_ip.set(from.ip);
  packet.target_mac = to.mac;
  packet.target_ip.set(to.ip);
}

void make_ipv4(EthernetHeader& ethernet, Ipv4Header& ip, uint8_t protocol, uint32_t payload,
               const Endpoint& from, const Endpoint& to) {
  ethernet.to = to.mac;
  ethernet.from = from.mac;
  ethernet.type.set(kTypeIpv4);
  memset(&ip, 0, sizeof(ip));
  ip.version_and_length = 0x45;
  ip.length.set(static_cast<uint32_t>(sizeof(ip)) + payload);
  ip.ttl = 64;
  ip.protocol = protocol;
  ip.from.set(from.ip);
  ip.to.set(to.ip);
  ip.checksum.set(fold_checksum(add_to_checksum(0, &ip, sizeof(ip))));
}

void make_echo_request(IcmpPacket& packet, uint32_t size, uint32_t sequence, const Endpoint& from,
                       const Endpoint& to) {
  make_ipv4(packet.ethernet, packet.ip, kProtocolIcmp, size - kIcmpOffset, from, to);
  packet.type = kEchoRequest;
  packet.code = 0;
  packet.id.set(0x6875);
  packet.sequence.set(sequence);
  set_icmp_checksum(packet, size);
}

uint32_t make_answer(const uint8_t* frame, uint32_t size, const Endpoint& self, uint8_t* answer) {
  if (size < sizeof(EthernetHeader)) return 0;
  const uint32_t type = reinterpret_cast<const EthernetHeader*>(frame)->type.get();
  if (type == kTypeArp) return answer_arp(frame, size, self, answer);
  return type == kTypeIpv4 ? answer_echo(frame, size, self, answer) : 0;
}

}  // namespace hull::guest
