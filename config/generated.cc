#include "config/generated.h"

#include <sys/random.h>

#include <algorithm>

namespace hull::config {

namespace {

// FNV-1a (64 bit) with a final mix: spreads names over the addresses; no secret depends on it.
uint64_t spread(std::string_view text, uint64_t seed) {
  uint64_t hash = 0xcbf29ce484222325ULL ^ (seed * 0x9e3779b97f4a7c15ULL);
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdULL;
  return hash ^ (hash >> 33);
}

bool taken(const DomainConfig& config, const MacAddress& mac) {
  return std::ranges::any_of(config.networks,
                             [&](const NetworkConfig& other) { return other.mac == mac; });
}

}  // namespace

Result<std::string> generate_uuid() {
  uint8_t bytes[16];
  ssize_t got;
  do {
    got = ::getrandom(bytes, sizeof bytes, 0);
  } while (got < 0 && errno == EINTR);
  if (got != sizeof bytes) return std::unexpected(Error::from_errno("getrandom"));
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x40);  // version 4, RFC 9562, 5.4
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  std::string text;
  for (size_t i = 0; i < sizeof bytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", bytes[i]);
  }
  return text;
}

MacAddress derive_mac(std::string_view identity, unsigned index) {
  const uint64_t hash = spread(identity, index);
  return {0x52,
          0x54,
          0x00,
          static_cast<uint8_t>(hash >> 16),
          static_cast<uint8_t>(hash >> 8),
          static_cast<uint8_t>(hash)};
}

Result<void> fill_generated(DomainConfig& config) {
  const std::string identity = config.uuid.empty() ? config.name : config.uuid;
  unsigned index = 0;
  for (NetworkConfig& network : config.networks) {
    while (network.mac == MacAddress{}) {
      const MacAddress mac = derive_mac(identity, index++);
      if (!taken(config, mac)) network.mac = mac;
    }
  }
  if (config.uuid.empty()) config.uuid = TRY(generate_uuid());
  return {};
}

}  // namespace hull::config
