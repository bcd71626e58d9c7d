// The name of an image: a path or URL, or with --image-opts the options of a node.
#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "blockcore/format_table.h"
#include "config/network_source.h"
#include "tools/hull/img.h"
#include "tools/hull/img_options.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {
namespace {

using blockcore::CacheMode;

constexpr std::string_view kJson = "json:";

// Options of QEMU's nodes that change nothing here: names, sizes of caches, ways to do I/O.
constexpr std::string_view kWithoutMeaning[] = {
    "node-name",
    "auto-read-only",
    "aio",
    "l2-cache-size",
    "cache-size",
    "l2-cache-entry-size",
    "discard",
    "refcount-cache-size",
    "cache-clean-interval",
    "pass-discard-request",
    "x-check-cache-dropped",
    "pass-discard-snapshot",
    "pass-discard-other",
    "overlap-check",
    "lazy-refcounts",
};

// Where driver=nbd finds its export.
struct NbdNode {
  bool wanted = false;
  std::string type;  // of the server's address: unix or inet
  std::string path;
  std::string host;
  uint16_t port = 0;  // 0: NBD's own
  std::string export_name;
};

struct Node {
  ImgName image;
  bool direct = false;
  bool no_flush = false;
  NbdNode nbd;
};

// "driver" of a node or of the file below it; what it means for the format.
Result<void> set_driver(const std::string& driver, bool of_file, Node& node) {
  const bool is_file = driver == "file" || driver == "host_device";
  node.nbd.wanted = node.nbd.wanted || driver == "nbd";
  if (is_file || driver == "nbd") {
    if (!of_file) node.image.format = blockcore::DiskFormat::kRaw;
    return {};
  }
  if (of_file || blockcore::find_format(driver) == nullptr)
    return fail(ErrorKind::kUnsupported, "Unknown driver '{}'", driver);
  node.image.format = TRY(parse_img_format("--image-opts", driver));
  return {};
}

Result<uint16_t> parse_port(const std::string& text) {
  uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end || port == 0)
    return fail(ErrorKind::kUsage, "Parameter 'port' is no port: {}", text);
  return port;
}

// False: another kind of option.
Result<bool> take_nbd_option(std::string_view key, const std::string& value, NbdNode& nbd) {
  if (key.starts_with("server.")) key.remove_prefix(7);
  if (key == "type") {
    if (value != "unix" && value != "inet")
      return fail(ErrorKind::kUnsupported, "server.type={}: hull has unix and inet", value);
    nbd.type = value;
  } else if (key == "path") {
    nbd.path = value;
  } else if (key == "host") {
    nbd.host = value;
  } else if (key == "port") {
    nbd.port = TRY(parse_port(value));
  } else if (key == "export") {
    nbd.export_name = value;
  } else {
    return false;
  }
  return true;
}

Result<void> set_node_option(const Suboption& option, Node& node) {
  const bool of_file = option.key.starts_with("file.");
  const std::string key = of_file ? option.key.substr(5) : option.key;
  if (key == "driver") return set_driver(option.value, of_file, node);
  if (key == "filename") {
    node.image.path = option.value;
  } else if (key == "read-only") {
    node.image.read_only = TRY(parse_switch(option));
  } else if (key == "force-share") {
    node.image.force_share = TRY(parse_switch(option));
  } else if (of_file && key == "locking") {
    if (option.value != "auto" && option.value != "on" && option.value != "off")
      return fail(ErrorKind::kUsage, "{}={}: say auto, on or off", option.key, option.value);
    node.image.lock = option.value != "off";
  } else if (std::ranges::find(kWithoutMeaning, key) != std::end(kWithoutMeaning)) {
    return {};
  } else if (key == "cache.direct") {
    node.direct = TRY(parse_switch(option));
  } else if (key == "cache.no-flush") {
    node.no_flush = TRY(parse_switch(option));
  } else if (!TRY(take_encrypt_option(option, node.image.encryption)) &&
             !TRY(take_nbd_option(key, option.value, node.nbd))) {
    return fail(ErrorKind::kUsage, "Invalid parameter '{}'", option.key);
  }
  return {};
}

// parse_suboptions() takes a key with a dot for the beginning of a path.
Result<Suboption> split_node_option(const std::string& word) {
  const size_t equals = word.find('=');
  if (equals == std::string::npos || equals == 0)
    return fail(ErrorKind::kUsage, "Expected '=' after parameter '{}'", word);
  return Suboption{word.substr(0, equals), word.substr(equals + 1)};
}

Result<std::string> nbd_url(const NbdNode& nbd, const std::string& word) {
  const bool over_unix = nbd.type.empty() ? !nbd.path.empty() : nbd.type == "unix";
  const std::string& place = over_unix ? nbd.path : nbd.host;
  if (place.empty() || !(over_unix ? nbd.host : nbd.path).empty())
    return fail(ErrorKind::kUsage,
                "--image-opts {}: which server? Say server.type=unix,server.path=PATH or "
                "server.type=inet,server.host=ADDRESS,server.port=PORT",
                word);
  return over_unix ? config::nbd_url_over_unix(nbd.path, nbd.export_name)
                   : config::nbd_url_over_tcp(nbd.host, nbd.port, nbd.export_name);
}

// Objects in objects become keys with dots, as node options have them.
Result<void> read_json_value(const std::string& key, const nlohmann::json& value, Node& node) {
  if (value.is_object()) {
    for (const auto& [name, inner] : value.items())
      TRY(read_json_value(key.empty() ? name : fmt::format("{}.{}", key, name), inner, node));
    return {};
  }
  std::string text;
  if (value.is_boolean())
    text = value.get<bool>() ? "on" : "off";
  else if (value.is_string())
    text = value.get<std::string>();
  else if (value.is_number_integer())
    text = value.dump();
  else
    return fail(ErrorKind::kUsage, "json: the value of '{}' is not one that a node has", key);
  return set_node_option({key, text}, node);
}

Result<void> read_json_node(const std::string& word, Node& node) {
  const auto parsed =
      nlohmann::json::parse(word.substr(kJson.size()), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object())
    return fail(ErrorKind::kUsage, "Could not parse the JSON options of '{}'", word);
  return read_json_value("", parsed, node);
}

}  // namespace

Result<ImgName> parse_img_name(const std::string& word, const std::string& format,
                               bool image_opts) {
  if (!image_opts && !word.starts_with(kJson)) {
    ImgName image;
    image.path = TRY(parse_img_path(word));
    if (!format.empty()) image.format = TRY(parse_img_format(word, format));
    return image;
  }
  if (image_opts && !format.empty())
    return fail(ErrorKind::kUsage, "--image-opts and --format are mutually exclusive");
  Node node;
  if (image_opts) {
    for (const std::string& part : split_at_commas(word)) {
      const Suboption option = TRY(split_node_option(part));
      TRY(set_node_option(option, node));
    }
  } else {
    TRY(read_json_node(word, node));
  }
  if (!format.empty()) {
    const blockcore::DiskFormat said = TRY(parse_img_format(word, format));
    if (node.image.format && *node.image.format != said)
      return fail(ErrorKind::kUsage, "{}: -f {} and the driver in the name differ", word, format);
    node.image.format = said;
  }
  const NbdNode& nbd = node.nbd;
  if (!nbd.wanted && !(nbd.type + nbd.path + nbd.host + nbd.export_name).empty())
    return fail(ErrorKind::kUsage, "--image-opts {}: a server goes with driver=nbd", word);
  if (nbd.wanted == !node.image.path.empty())
    return fail(ErrorKind::kUsage, "--image-opts {}: which file? Say file.filename=PATH", word);
  if (nbd.wanted) node.image.path = TRY(nbd_url(nbd, word));
  if (node.direct) node.image.cache = CacheMode::kNone;
  if (node.no_flush) node.image.cache = CacheMode::kUnsafe;
  return std::move(node.image);
}

}  // namespace hull::cli
