// IPv4 addresses as numbers in the host's byte order, and as text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hull {

struct Ipv4Network {
  uint32_t address;  // of the network, or of a host in it
  unsigned prefix;   // 0 to 32

  constexpr uint32_t mask() const { return prefix == 0 ? 0 : ~uint32_t{0} << (32 - prefix); }
  constexpr uint32_t first() const { return address & mask(); }
  constexpr uint32_t broadcast() const { return address | ~mask(); }
  constexpr bool contains(uint32_t other) const { return ((other ^ address) & mask()) == 0; }
};

constexpr uint32_t ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  return uint32_t{a} << 24 | uint32_t{b} << 16 | uint32_t{c} << 8 | d;
}

inline constexpr uint32_t kIpv4Loopback = ipv4(127, 0, 0, 1);

// Four decimal numbers without leading zeros, as inet_pton(3) takes them.
std::optional<uint32_t> parse_ipv4(std::string_view text);
std::string format_ipv4(uint32_t address);

}  // namespace hull
