#include "tools/hull/device_words.h"

#include "base/limits.h"
#include "config/network_source.h"
#include "config/validate.h"
#include "config/values.h"
#include "tools/hull/run_options.h"
#include "tools/hull/run_secrets.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {

namespace {

Result<unsigned> parse_boot_order(const std::string& text) {
  const auto order = config::parse_number(text);
  if (!order || *order < 1 || *order > UINT32_MAX)
    return fail(ErrorKind::kUsage, "boot= is a place in the boot order, from 1");
  return static_cast<unsigned>(*order);
}

}  // namespace

Result<config::DiskConfig> parse_disk(const std::string& text, size_t index, bool ephemeral) {
  config::DiskConfig disk;
  disk.transient = ephemeral;
  disk.target = config::virtio_disk_name(index);
  std::vector<EncryptWords> encryption;
  if (text.empty()) return fail(ErrorKind::kUsage, "which file?");
  for (const Suboption& option : TRY(parse_suboptions(text, "file"))) {
    if (option.key == "file" || option.key == "path")
      disk.file =
          config::is_nbd_url(option.value) ? option.value : TRY(absolute_path(option.value));
    else if (option.key == "format")
      disk.format = TRY(config::parse_disk_format(option.value));
    else if (option.key == "readonly")
      disk.read_only = TRY(parse_switch(option));
    else if (option.key == "transient")
      disk.transient = TRY(parse_switch(option));
    else if (option.key == "serial")
      disk.serial = option.value;
    else if (option.key == "cache")
      disk.cache = TRY(config::parse_cache_mode(option.value));
    else if (option.key == "discard")
      disk.discard = TRY(config::parse_discard(option.value));
    else if (option.key == "l2-cache-size")
      disk.metadata_cache_bytes = TRY(config::parse_size(option.value));
    else if (option.key == "target")
      disk.target = option.value;
    else if (option.key == "boot")
      disk.boot_order = TRY(parse_boot_order(option.value));
    else if (!TRY(take_encrypt_option(option, encryption)))
      return fail(ErrorKind::kUsage, "there is no '{}='", option.key);
  }
  TRY(set_encryption(encryption, disk));
  if (disk.file.empty()) return fail(ErrorKind::kUsage, "which file?");
  return disk;
}

Result<std::optional<config::NetworkConfig>> parse_network(const std::string& text) {
  config::NetworkConfig network;
  for (const Suboption& option : TRY(parse_suboptions(text, "kind"))) {
    if (option.key == "kind" && option.value == "none")
      return std::optional<config::NetworkConfig>();
    if (option.key == "kind" && option.value == "tap")
      network.kind = config::NetworkKind::kTap;
    else if (option.key == "kind" && option.value == "null")
      network.kind = config::NetworkKind::kNull;
    else if (option.key == "ifname")
      network.ifname = option.value;
    else if (option.key == "mac")
      network.mac = TRY(config::parse_mac(option.value));
    else if (option.key == "bridge") {
      network.kind = config::NetworkKind::kBridge;
      network.bridge = option.value;
    } else if (option.key == "mtu") {
      const auto mtu = config::parse_number(option.value);
      if (!mtu || *mtu < kMinMtu || *mtu > kMaxMtu)
        return fail(ErrorKind::kUsage, "mtu is {} to {}", kMinMtu, kMaxMtu);
      network.mtu = static_cast<uint16_t>(*mtu);
    } else
      return fail(ErrorKind::kUsage,
                  "'{}{}{}' is not known (none, tap, null; ifname=, mac=, mtu=, bridge=)",
                  option.key == "kind" ? "" : option.key, option.key == "kind" ? "" : "=",
                  option.value);
  }
  return std::optional(network);
}

Result<config::ConsoleConfig> parse_console(const std::string& text) {
  config::ConsoleConfig console;
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  const std::string path = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (kind == "stdio" || kind == "pty" || kind == "null") {
    if (colon != std::string::npos)
      return fail(ErrorKind::kUsage, "--console {}: takes no path", kind);
    console.kind = kind == "stdio" ? config::ConsoleKind::kStdio
                   : kind == "pty" ? config::ConsoleKind::kPty
                                   : config::ConsoleKind::kNull;
    return console;
  }
  if (kind != "file" && kind != "unix")
    return fail(ErrorKind::kUsage, "--console {}: stdio, file:PATH, pty, unix:PATH or null", text);
  if (path.empty()) return fail(ErrorKind::kUsage, "--console {}PATH: the path is missing", text);
  console.kind = kind == "file" ? config::ConsoleKind::kFile : config::ConsoleKind::kUnix;
  console.path = TRY(absolute_path(path));
  return console;
}

}  // namespace hull::cli
