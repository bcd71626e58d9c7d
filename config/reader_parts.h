// The pieces of read_domain(), one per kind of element. Each fills its part of the configuration
// and reports what the table alone cannot judge. Internal to config/.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "config/domain.h"
#include "config/findings.h"
#include "config/xml.h"

namespace hull::config {

// Walks the tree and reports every node's verdict; elements in `skipped` and what is below them are
// somebody else's.
void judge(const XmlElement& root, const std::vector<const XmlElement*>& skipped,
           Findings& findings);

// Reports every value in and below `element` that libvirt's parser would refuse (value_rows.h).
void check_values(const XmlElement& element, Findings& findings);

// The element that describes the one serial port, and the others.
struct ConsoleChoice {
  const XmlElement* chosen = nullptr;
  bool virtio = false;  // the document wants a virtio console
  // Repetitions of the chosen one (libvirt writes <console> beside <serial>): silent.
  std::vector<const XmlElement*> mirrors;
  std::vector<const XmlElement*> extra;
};
ConsoleChoice choose_console(const XmlElement* devices);

void read_general(const XmlElement& root, DomainConfig& config, Findings& findings);
void read_boot(const XmlElement& root, BootConfig& boot, Findings& findings);
// <boot order=…> of a disk.
std::optional<unsigned> read_boot_order(const XmlElement& device, const XmlElement& root,
                                        Findings& findings);
void read_lifecycle(const XmlElement& root, DomainConfig& config, Findings& findings);
void read_cpu(const XmlElement& root, DomainConfig& config, Findings& findings);
// `places` gets the elements of DomainConfig::disks, in its order.
void read_disks(const XmlElement& root, DomainConfig& config,
                std::vector<const XmlElement*>& places, Findings& findings);
// `of_disk`: <encryption> beside `source`; both may be null. The format is for validate() to judge.
std::optional<EncryptionConfig> read_encryption(const XmlElement* of_disk, const XmlElement* source,
                                                Findings& findings);
// DomainConfig::networks has one for each <interface>.
void read_interfaces(const XmlElement& devices, DomainConfig& config, Findings& findings);
// What only user-mode networks have, of `interface`, whose other parts `network` holds.
void read_user_network(const XmlElement& interface, NetworkConfig& network, Findings& findings);
void read_console(const ConsoleChoice& choice, DomainConfig& config, Findings& findings);
void read_small_devices(const XmlElement& devices, DomainConfig& config, Findings& findings);

// The attribute as a number in [minimum, maximum]; absent: none; otherwise a finding.
std::optional<uint64_t> read_number(const XmlElement& element, std::string_view attribute,
                                    uint64_t minimum, uint64_t maximum, Findings& findings);

// <clock>, whose other parts are reported elsewhere.
ClockConfig read_clock_start(const XmlElement& clock, Findings& findings);

// The cells of <cpu><numa>, whose memory may stand for <memory>: the sum; none if there are none.
std::optional<uint64_t> numa_memory(const XmlElement& root, Findings& findings);
// `vcpus` is the number of the domain.
void check_numa(const XmlElement& root, unsigned vcpus, Findings& findings);

// A size in bytes from a number and a unit; otherwise a finding (about `attribute` if it is not
// empty).
std::optional<uint64_t> read_size(const XmlElement& element, std::string_view attribute,
                                  std::string_view default_unit, Findings& findings);
// The same with KiB as the default unit, rounded up to KiB.
std::optional<uint64_t> read_memory_size(const XmlElement& element, std::string_view attribute,
                                         Findings& findings);

}  // namespace hull::config
