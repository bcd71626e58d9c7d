// Whom the host asks for names.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace hull::virtio {

// The IPv4 addresses of resolv.conf(5) in `text`, at most kMaxUserResolvers, but for loopback ones,
// which a guest reaches as its gateway's.
std::vector<uint32_t> resolvers_in(std::string_view text);
// Of /etc/resolv.conf; none if it cannot be read.
std::vector<uint32_t> host_resolvers();

}  // namespace hull::virtio
