// <interface>: in the order of the document.
#include <algorithm>

#include "config/reader_parts.h"
#include "config/validate.h"
#include "config/values.h"

namespace hull::config {

namespace {

std::string_view value_of(const XmlElement& parent, std::string_view child,
                          std::string_view attribute) {
  const XmlElement* element = parent.child(child);
  return element == nullptr ? std::string_view() : element->value(attribute);
}

// Kinds that hull does not have were refused; after --ignore they are connected to nothing, so that
// the guest's numbering of its interfaces stays.
NetworkKind network_kind(std::string_view type) {
  if (type == "ethernet") return NetworkKind::kTap;
  if (type == "bridge") return NetworkKind::kBridge;
  if (type == "user" || type.empty()) return NetworkKind::kUser;  // libvirt's default
  return NetworkKind::kNull;
}

void read_mac(const XmlElement& interface, NetworkConfig& network, Findings& findings) {
  const XmlElement* mac = interface.child("mac");
  if (mac == nullptr || mac->attribute("address") == nullptr) return;
  if (const auto address = parse_mac(mac->value("address")))
    network.mac = *address;
  else
    findings.invalid(*mac, "address", address.error().message());
}

void read_target(const XmlElement& interface, NetworkConfig& network) {
  network.managed = value_of(interface, "target", "managed") != "no";
  const std::string_view name = value_of(interface, "target", "dev");
  // Names that libvirt makes up for a running domain, and drops when it reads them again.
  if (!network.managed || !name.starts_with("vnet")) network.ifname = name;
}

NetworkConfig read_interface(const XmlElement& interface, Findings& findings) {
  NetworkConfig network;
  network.kind = network_kind(interface.value("type"));
  read_mac(interface, network, findings);
  if (network.kind != NetworkKind::kUser) read_target(interface, network);
  network.bridge = value_of(interface, "source", "bridge");
  if (const XmlElement* mtu = interface.child("mtu"))
    if (const auto size = read_number(*mtu, "size", kMinMtu, kMaxMtu, findings))
      network.mtu = static_cast<uint16_t>(*size);
  read_user_network(interface, network, findings);
  network.link_up = value_of(interface, "link", "state") != "down";
  const XmlElement* model = interface.child("model");
  if (model == nullptr || model->attribute("type") == nullptr)
    findings.report_computed(interface, {}, "~no model");
  if (const XmlElement* driver = interface.child("driver"))
    if (read_number(*driver, "queues", 1, kMaxVcpus, findings).value_or(1) > 1)
      findings.report_computed(*driver, {}, "~several queues");
  return network;
}

}  // namespace

void read_interfaces(const XmlElement& devices, DomainConfig& config, Findings& findings) {
  for (const XmlElement* device : devices.children_named("interface")) {
    NetworkConfig network = read_interface(*device, findings);
    const bool taken = network.mac != MacAddress{} &&
                       std::ranges::find(config.networks, network.mac, &NetworkConfig::mac) !=
                           config.networks.end();
    if (taken) findings.report_computed(*device->child("mac"), "address", "~used twice");
    config.networks.push_back(std::move(network));
  }
}

}  // namespace hull::config
