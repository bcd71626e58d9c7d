// <interface type='user'>: its address, its ports.
#include <algorithm>
#include <set>

#include "config/reader_parts.h"

namespace hull::config {

namespace {

constexpr uint64_t kMaxPort = 65535;
constexpr unsigned kDefaultPrefix = 24;
// libvirt's <ip> is the network for SLIRP, whose guest has this number in it, and the guest's own
// address for passt.
constexpr uint32_t kGuestNumber = 15;

void read_guest_address(const XmlElement& ip, UserNetworkSpec& user, Findings& findings) {
  if (ip.value("family") == "ipv6") return findings.report_computed(ip, "family", "~user mode");
  const auto address = parse_ipv4(ip.value("address"));
  if (!address) return;  // a value that libvirt refuses has been reported
  Ipv4Network network = {.address = *address, .prefix = kDefaultPrefix};
  if (ip.attribute("prefix") != nullptr) {
    const auto prefix = read_number(ip, "prefix", kMinUserPrefix, kMaxUserPrefix, findings);
    if (!prefix) return;
    network.prefix = static_cast<unsigned>(*prefix);
  }
  if (network.address == network.first())
    network.address += std::min(kGuestNumber, network.broadcast() - network.first() - 1);
  user.address = network;
}

struct PortRange {
  uint16_t start;
  uint16_t end;
  uint16_t to;  // where `start` leads
};

std::optional<PortRange> read_range(const XmlElement& range, Findings& findings) {
  if (range.attribute("start") == nullptr) findings.invalid(range, {}, "has no start");
  const auto start = read_number(range, "start", 1, kMaxPort, findings);
  if (!start) return std::nullopt;
  std::optional<uint64_t> end = start;
  std::optional<uint64_t> to = start;
  if (range.attribute("end") != nullptr)
    end = read_number(range, "end", *start, kMaxPort, findings);
  if (!end) return std::nullopt;
  if (range.attribute("to") != nullptr)
    to = read_number(range, "to", 1, kMaxPort - (*end - *start), findings);
  if (!to) return std::nullopt;
  return PortRange{static_cast<uint16_t>(*start), static_cast<uint16_t>(*end),
                   static_cast<uint16_t>(*to)};
}

// Ports that are not to be published, of the ranges that say so.
std::set<uint16_t> read_excluded(const XmlElement& forward, Findings& findings) {
  std::set<uint16_t> excluded;
  for (const XmlElement* one : forward.children_named("range"))
    if (one->value("exclude") == "yes")
      if (const auto range = read_range(*one, findings))
        for (unsigned port = range->start; port <= range->end; ++port)
          excluded.insert(static_cast<uint16_t>(port));
  return excluded;
}

void read_port_forward(const XmlElement& forward, UserNetworkSpec& user, Findings& findings) {
  PublishedPort port{.udp = forward.value("proto") == "udp", .address = 0};
  if (forward.attribute("address") != nullptr) {
    const auto address = parse_ipv4(forward.value("address"));
    if (!address) return findings.report_computed(forward, "address", "~not IPv4");
    port.address = *address;
  }
  const std::set<uint16_t> excluded = read_excluded(forward, findings);
  bool any = false;
  for (const XmlElement* one : forward.children_named("range")) {
    if (one->value("exclude") == "yes") continue;
    any = true;
    const auto range = read_range(*one, findings);
    if (!range) continue;
    for (unsigned number = range->start; number <= range->end; ++number) {
      port.host_port = static_cast<uint16_t>(number);
      port.guest_port = static_cast<uint16_t>(range->to + (number - range->start));
      // One more than there may be is enough for validate() to say so.
      if (!excluded.contains(port.host_port) && user.published.size() <= kMaxPublishedPorts)
        user.published.push_back(port);
    }
  }
  if (!any) findings.report_computed(forward, {}, "~all ports");
}

}  // namespace

void read_user_network(const XmlElement& interface, NetworkConfig& network, Findings& findings) {
  const bool user = network.kind == NetworkKind::kUser;
  const auto ips = interface.children_named("ip");
  const auto forwards = interface.children_named("portForward");
  if (!user) {
    for (const XmlElement* ip : ips) findings.report_computed(*ip, {}, "~not user mode");
    for (const XmlElement* forward : forwards)
      findings.report_computed(*forward, {}, "~not user mode");
    return;
  }
  if (network.mtu && *network.mtu > kMaxUserMtu) {
    network.mtu = kMaxUserMtu;
    findings.report_computed(*interface.child("mtu"), "size", "~more than user mode has");
  }
  if (const XmlElement* source = interface.child("source"))
    network.user.interface = source->value("dev");
  for (const XmlElement* ip : ips) read_guest_address(*ip, network.user, findings);
  for (const XmlElement* forward : forwards) read_port_forward(*forward, network.user, findings);
}

}  // namespace hull::config
