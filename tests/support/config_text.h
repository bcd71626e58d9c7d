// A configuration as text: every field of it, so that two are equal only if their texts are.
#pragma once

#include <fmt/core.h>

#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "config/domain.h"
#include "config/values.h"

namespace hull::testing {

inline std::string shown(const config::EncryptionConfig& encryption);
inline std::string shown(const config::BackingLevel& level);
inline std::string shown(const config::DiskConfig& disk);
inline std::string shown(const config::NetworkConfig& network);
template <class Value>
std::string shown(const std::optional<Value>& value);
template <class Value>
std::string shown(const std::vector<Value>& values);

template <class Value>
std::string shown(const Value& value) {
  if constexpr (std::is_enum_v<Value>)
    return fmt::format("{}", static_cast<int>(value));
  else
    return fmt::format("{}", value);
}

template <class... Values>
std::string joined(const Values&... values) {
  std::string text = "(";
  ((text += shown(values) + ";"), ...);
  return text + ")";
}

template <class Value>
std::string shown(const std::vector<Value>& values) {
  std::string text = "[";
  for (const Value& value : values) text += shown(value) + ",";
  return text + "]";
}

// The bindings name every field: a new one does not compile until it is here.
inline std::string shown(const config::EncryptionConfig& encryption) {
  const auto& [method, secret] = encryption;
  return joined(method, secret);
}
inline std::string shown(const config::BackingLevel& level) {
  const auto& [file, format, encryption] = level;
  return joined(file, format, shown(encryption));
}
inline std::string shown(const config::DiskConfig& disk) {
  const auto& [target, file, format, backing, encryption, backing_encryption, cache, discard,
               detect_zeroes, read_only, cdrom, shareable, transient, serial, queue_size, iothread,
               logical, physical, metadata_cache, boot_order] = disk;
  return joined(target, file, format, shown(backing), shown(encryption), shown(backing_encryption),
                cache, discard, detect_zeroes, read_only, cdrom, shareable, transient, serial,
                queue_size, iothread, logical, physical, metadata_cache, shown(boot_order));
}
inline std::string shown(const PublishedPort& port) {
  return fmt::format("{}>{}", describe(port), port.guest_port);
}
inline std::string shown(const UserNetworkSpec& user) {
  const auto& [address, resolvers, host_access, internet_only, interface, published] = user;
  std::string text = joined(address.address, address.prefix, host_access, internet_only, interface);
  for (const uint32_t resolver : resolvers) text += format_ipv4(resolver) + " ";
  for (const PublishedPort& port : published) text += shown(port) + " ";
  return text;
}
inline std::string shown(const config::NetworkConfig& network) {
  const auto& [kind, mac, ifname, managed, bridge, mtu, link_up, user] = network;
  return joined(kind, config::format_mac(mac), ifname, managed, bridge, shown(mtu), link_up,
                shown(user));
}
inline std::string shown(const config::ConsoleConfig& console) {
  const auto& [kind, path, append, log_file, log_append] = console;
  return joined(kind, path, append, log_file, log_append);
}
inline std::string shown(const config::RngConfig& rng) {
  const auto& [rate_bytes, rate_period_ms] = rng;
  return joined(rate_bytes, rate_period_ms);
}
inline std::string shown(const config::ClockConfig& clock) {
  const auto& [base, seconds] = clock;
  return joined(base, seconds);
}
inline std::string shown(const config::BiosConfig& bios) {
  const auto& [image, devices, serial_console, menu_ms, retry_ms] = bios;
  return joined(image, shown(devices), serial_console, shown(menu_ms), shown(retry_ms));
}
inline std::string shown(const config::BootConfig& boot) {
  const auto& [kind, kernel, initrd, cmdline, bios] = boot;
  return joined(kind, kernel, initrd, cmdline, shown(bios));
}
template <class Value>
std::string shown(const std::optional<Value>& value) {
  return value ? shown(*value) : "none";
}

inline std::string config_text(const config::DomainConfig& domain) {
  const auto& [name, uuid, memory, vcpus, online, boot, disks, networks, console, rng, panic, clock,
               on_poweroff, on_reboot, on_crash, dump, locked, hugepages, disabled, required, pmu] =
      domain;
  return joined(name, uuid, memory, vcpus, online, shown(boot), shown(disks), shown(networks),
                shown(console), shown(rng), panic, shown(clock), on_poweroff, on_reboot, on_crash,
                dump, locked, hugepages, shown(disabled), shown(required), pmu);
}

}  // namespace hull::testing
