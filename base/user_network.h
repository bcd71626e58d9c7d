// A network in user mode, as somebody has described it: for the configuration and for what carries
// it out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ipv4.h"

namespace hull {

// A port of the host's that leads to one of the guest's.
struct PublishedPort {
  bool udp = false;                  // else TCP
  uint32_t address = kIpv4Loopback;  // of the host's, to listen at; 0: all
  uint16_t host_port = 0;            // 0: a free one
  uint16_t guest_port = 0;           // not 0

  bool operator==(const PublishedPort&) const = default;
};

// IPv4 through the sockets of the user. The defaults are those of SLIRP in QEMU and libvirt.
struct UserNetworkSpec {
  Ipv4Network address = {ipv4(10, 0, 2, 15), 24};  // of the guest
  std::vector<uint32_t> resolvers = {};            // told to the guest; empty: the host's
  bool host_access = false;                        // the gateway's address is the host's loopback
  bool internet_only = false;                      // no private networks
  std::string interface = {};                 // packets leave by it; empty: by the host's routes
  std::vector<PublishedPort> published = {};  // at most kMaxPublishedPorts
};

// The host's address in the guest's network: the second one, or the first if that is taken.
constexpr uint32_t user_gateway(const Ipv4Network& guest) {
  const uint32_t second = guest.first() + 2;
  return guest.address == second ? guest.first() + 1 : second;
}

// "127.0.0.1:8080/tcp", the host's side of it.
std::string describe(const PublishedPort& port);

}  // namespace hull
