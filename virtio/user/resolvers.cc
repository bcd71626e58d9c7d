#include "virtio/user/resolvers.h"

#include <algorithm>

#include "base/ipv4.h"
#include "base/limits.h"
#include "base/unique_fd.h"

namespace hull::virtio {

namespace {

constexpr size_t kMaxFileBytes = 64 << 10;
constexpr std::string_view kBlank = " \t\r";
constexpr Ipv4Network kLoopback = {kIpv4Loopback, 8};

std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(kBlank));
  line.remove_prefix(word.size());
  return word;
}

}  // namespace

std::vector<uint32_t> resolvers_in(std::string_view text) {
  std::vector<uint32_t> found;
  while (!text.empty() && found.size() < kMaxUserResolvers) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (take_word(line) != "nameserver") continue;
    const auto address = parse_ipv4(take_word(line));
    if (address && !kLoopback.contains(*address)) found.push_back(*address);
  }
  return found;
}

std::vector<uint32_t> host_resolvers() {
  const auto file = open_file("/etc/resolv.conf", O_RDONLY | O_NONBLOCK);
  if (!file) return {};
  const auto text = read_whole(file->get(), kMaxFileBytes);
  return text ? resolvers_in(*text) : std::vector<uint32_t>();
}

}  // namespace hull::virtio
