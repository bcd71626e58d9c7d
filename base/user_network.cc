#include "base/user_network.h"

#include <fmt/core.h>

namespace hull {

std::string describe(const PublishedPort& port) {
  return fmt::format("{}:{}/{}", format_ipv4(port.address), port.host_port,
                     port.udp ? "udp" : "tcp");
}

}  // namespace hull
