// ARP for IPv4 over Ethernet (RFC 826).
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/endian.h"

namespace hull::virtio {

inline constexpr uint16_t kArpType = 0x0806;
inline constexpr uint16_t kIpv4Type = 0x0800;

struct EthernetHeader {
  std::array<uint8_t, 6> target;
  std::array<uint8_t, 6> source;
  Be16 type;
};
static_assert(sizeof(EthernetHeader) == 14);

struct ArpBody {
  Be16 hardware;
  Be16 protocol;
  uint8_t hardware_bytes;
  uint8_t protocol_bytes;
  Be16 operation;
  std::array<uint8_t, 6> sender_mac;
  Be32 sender;
  std::array<uint8_t, 6> target_mac;
  Be32 target;
};
static_assert(sizeof(ArpBody) == 28);

struct ArpFrame {
  EthernetHeader ethernet;
  ArpBody body;
};
static_assert(sizeof(ArpFrame) == 42);

// Who has `target`? To everybody.
ArpFrame ask_for(const std::array<uint8_t, 6>& mac, uint32_t address, uint32_t target);
// `frame` says where `address` is.
bool is_answer(std::span<const uint8_t> frame, uint32_t address);

}  // namespace hull::virtio
