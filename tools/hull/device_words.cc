#include "tools/hull/device_words.h"

#include <span>

#include "base/limits.h"
#include "config/network_source.h"
#include "config/validate.h"
#include "config/values.h"
#include "tools/hull/run_options.h"
#include "tools/hull/run_secrets.h"
#include "tools/hull/suboptions.h"
#include "tools/hull/suggestion.h"
#include "tools/hull/user_network_words.h"

namespace hull::cli {

namespace {

Result<unsigned> parse_boot_order(const std::string& text) {
  const auto order = config::parse_number(text);
  if (!order || *order < 1 || *order > UINT32_MAX)
    return fail(ErrorKind::kUsage, "boot= is a place in the boot order, from 1");
  return static_cast<unsigned>(*order);
}

Result<config::NetworkKind> parse_network_kind(const std::string& text) {
  if (text == "tap") return config::NetworkKind::kTap;
  if (text == "null") return config::NetworkKind::kNull;
  if (text == "user" || text == "passt") return config::NetworkKind::kUser;
  return fail(ErrorKind::kUsage, "'{}' is no kind of network (none, user, tap, null)", text);
}

Result<uint16_t> parse_mtu(const std::string& text) {
  const auto mtu = config::parse_number(text);
  if (!mtu || *mtu < kMinMtu || *mtu > kMaxMtu)
    return fail(ErrorKind::kUsage, "mtu is {} to {}", kMinMtu, kMaxMtu);
  return static_cast<uint16_t>(*mtu);
}

constexpr const char* kDiskKeys[] = {"file",          "format", "readonly", "transient",
                                     "serial",        "cache",  "discard",  "target",
                                     "l2-cache-size", "boot",   "path",     "encrypt.key-secret"};
constexpr const char* kNetKeys[] = {"ifname",  "mac", "mtu",  "bridge",    "publish",
                                    "address", "dns", "host", "interface", "restrict"};

std::unexpected<Error> no_such_key(const std::string& key, std::span<const char* const> known,
                                   std::span<const ForeignWord> foreign) {
  const std::vector<std::string> names(known.begin(), known.end());
  std::string hint = suggestion(key, names, foreign);
  if (hint.empty()) {
    hint = "; there are";
    for (const std::string& name : names) hint += fmt::format(" {}=", name);
  }
  return fail(ErrorKind::kUsage, "there is no '{}='{}", key, hint);
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
      return no_such_key(option.key, kDiskKeys, foreign_disk_keys());
  }
  TRY(set_encryption(encryption, disk));
  if (disk.file.empty()) return fail(ErrorKind::kUsage, "which file?");
  return disk;
}

Result<std::optional<config::NetworkConfig>> parse_network(const std::string& text) {
  config::NetworkConfig network;
  UserNetworkWords user;
  std::string_view user_word;  // the last one
  const std::vector<Suboption> options = TRY(parse_suboptions(text, "kind"));
  for (const Suboption& option : options) {
    if (option.key == "kind") {
      if (option.value == "none") return std::optional<config::NetworkConfig>();
      network.kind = TRY(parse_network_kind(option.value));
    } else if (option.key == "ifname") {
      network.ifname = option.value;
    } else if (option.key == "mac") {
      network.mac = TRY(config::parse_mac(option.value));
    } else if (option.key == "bridge") {
      if (network.kind == config::NetworkKind::kUser)
        return fail(ErrorKind::kUsage, "bridge= is of --net tap");
      network.kind = config::NetworkKind::kBridge;
      network.bridge = option.value;
    } else if (option.key == "mtu") {
      network.mtu = TRY(parse_mtu(option.value));
    } else if (TRY(user.take(option))) {
      user_word = option.key;
    } else {
      return no_such_key(option.key, kNetKeys, foreign_net_keys());
    }
  }
  const bool is_user = network.kind == config::NetworkKind::kUser;
  if (!is_user && !user_word.empty())
    return fail(ErrorKind::kUsage, "{}= is of --net user", user_word);
  if (is_user && !network.ifname.empty())
    return fail(ErrorKind::kUsage, "ifname= is of --net tap; packets leave by interface=IF");
  network.user = TRY(user.finish());
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
