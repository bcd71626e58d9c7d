#include "base/ipv4.h"

#include <arpa/inet.h>
#include <fmt/core.h>

namespace hull {

std::optional<uint32_t> parse_ipv4(std::string_view text) {
  in_addr address{};
  // A NUL would end the text for inet_pton.
  if (text.size() >= INET_ADDRSTRLEN || text.find('\0') != std::string_view::npos) return {};
  if (::inet_pton(AF_INET, std::string(text).c_str(), &address) != 1) return {};
  return ntohl(address.s_addr);
}

std::string format_ipv4(uint32_t address) {
  return fmt::format("{}.{}.{}.{}", address >> 24, address >> 16 & 0xff, address >> 8 & 0xff,
                     address & 0xff);
}

}  // namespace hull
