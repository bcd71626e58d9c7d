// Frames of a guest, byte by byte, for tests of what carries them.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/endian.h"
#include "base/ipv4.h"
#include "virtio/user/arp.h"

namespace hull::testing {

using Bytes = std::vector<uint8_t>;
using Mac = std::array<uint8_t, 6>;

inline constexpr Mac kGuestMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
inline constexpr uint8_t kIcmp = 1;
inline constexpr uint8_t kTcp = 6;
inline constexpr uint8_t kUdp = 17;

struct PacketSpec {
  uint32_t source = ipv4(10, 0, 2, 15);
  uint32_t target = 0;
  uint8_t protocol = kTcp;
  uint16_t source_port = 40000;
  uint16_t target_port = 80;
  Mac source_mac = kGuestMac;
  uint16_t type = virtio::kIpv4Type;
  uint8_t words = 5;      // of the header
  uint16_t fragment = 0;  // flags and offset
  uint8_t tcp_flags = 2;  // SYN
  uint32_t acknowledged = 0;
};

inline void put(Bytes& bytes, uint64_t value, size_t count) {
  for (size_t i = count; i-- > 0;) bytes.push_back(static_cast<uint8_t>(value >> 8 * i));
}

// RFC 1071.
inline uint16_t internet_checksum(std::span<const uint8_t> bytes, uint32_t sum = 0) {
  for (size_t i = 0; i < bytes.size(); ++i)
    sum += static_cast<uint32_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// A SYN for TCP, ports and some bytes otherwise; with right checksums.
inline Bytes make_packet(const PacketSpec& spec) {
  Bytes body;
  put(body, spec.source_port, 2);
  put(body, spec.target_port, 2);
  if (spec.protocol == kTcp) {
    put(body, 1000, 4);  // sequence
    put(body, spec.acknowledged, 4);
    put(body, 0x5000ffffU | uint32_t{spec.tcp_flags} << 16, 4);  // 5 words, flags, window
    put(body, 0, 4);                                             // checksum, urgent
  } else {
    put(body, 12, 2);  // length
    put(body, 0, 2);   // no checksum
    put(body, 0x68756c6c, 4);
  }
  if (spec.protocol == kTcp) {
    Bytes pseudo;
    put(pseudo, spec.source, 4);
    put(pseudo, spec.target, 4);
    put(pseudo, spec.protocol, 2);
    put(pseudo, body.size(), 2);
    pseudo.insert(pseudo.end(), body.begin(), body.end());
    const uint16_t sum = internet_checksum(pseudo);
    body[16] = static_cast<uint8_t>(sum >> 8);
    body[17] = static_cast<uint8_t>(sum);
  }
  Bytes header;
  put(header, 0x40U | spec.words, 1);
  put(header, 0, 1);
  put(header, 4U * spec.words + body.size(), 2);
  put(header, 1, 2);
  put(header, spec.fragment, 2);
  put(header, 64, 1);
  put(header, spec.protocol, 1);
  put(header, 0, 2);
  put(header, spec.source, 4);
  put(header, spec.target, 4);
  for (unsigned i = 5; i < spec.words; ++i) put(header, 0x01010101, 4);  // options: nothing
  const uint16_t sum = internet_checksum(header);
  header[10] = static_cast<uint8_t>(sum >> 8);
  header[11] = static_cast<uint8_t>(sum);
  Bytes frame(6, 0xff);
  frame.insert(frame.end(), spec.source_mac.begin(), spec.source_mac.end());
  put(frame, spec.type, 2);
  frame.insert(frame.end(), header.begin(), header.end());
  frame.insert(frame.end(), body.begin(), body.end());
  return frame;
}

template <class T>
Bytes bytes_of(const T& value) {
  Bytes bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

}  // namespace hull::testing
