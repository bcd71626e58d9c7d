#include "tools/hull/img_options.h"

#include <array>
#include <charconv>

#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {
namespace {

using blockcore::CacheMode;
using blockcore::Secret;

// In place; white space counts for nothing.
Result<void> decode_base64(Secret& secret, const std::string& path) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint32_t bits = 0;
  uint32_t bit_count = 0;
  size_t digits = 0;
  size_t length = 0;
  bool ended = false;
  for (const std::byte one : secret.bytes()) {
    const char c = std::to_integer<char>(one);
    if (c == '\n' || c == '\r' || c == ' ' || c == '\t') continue;
    const size_t digit = kDigits.find(c);
    ++digits;
    ended = ended || c == '=';
    if (c == '=') continue;
    if (digit == std::string_view::npos || ended)
      return fail(ErrorKind::kInvalidConfig, "{}: is not base64", path);
    bits = (bits << 6 | static_cast<uint32_t>(digit)) & 0xffffff;
    bit_count += 6;
    if (bit_count < 8) continue;
    bit_count -= 8;
    secret.data()[length++] = static_cast<uint8_t>(bits >> bit_count);
  }
  if (digits % 4 != 0) return fail(ErrorKind::kInvalidConfig, "{}: is not base64", path);
  secret.truncate(length);
  return {};
}

}  // namespace

Result<void> ImgSecrets::add(const std::string& object) {
  std::string id;
  std::string path;
  bool base64 = false;
  for (const Suboption& option : TRY(parse_suboptions(object, "qom-type"))) {
    if (option.key == "qom-type") {
      if (option.value != "secret")
        return fail(ErrorKind::kUnsupported, "invalid object type: {}", option.value);
    } else if (option.key == "id") {
      id = option.value;
    } else if (option.key == "file") {
      path = option.value;
    } else if (option.key == "format" && (option.value == "raw" || option.value == "base64")) {
      base64 = option.value == "base64";
    } else if (option.key == "data") {
      return fail(ErrorKind::kUsage,
                  "--object secret,data=…: other users can see it; put it into a file and say "
                  "file=PATH");
    } else {
      return fail(ErrorKind::kUsage, "Invalid parameter '{}' of --object", option.key);
    }
  }
  if (id.empty() || path.empty())
    return fail(ErrorKind::kUsage, "--object secret needs id=NAME and file=PATH");
  Secret secret = TRY(Secret::read_file(path));
  if (base64) TRY(decode_base64(secret, path));
  if (!secrets_.emplace(id, std::make_shared<const Secret>(std::move(secret))).second)
    return fail(ErrorKind::kUsage, "attempt to add duplicate object '{}'", id);
  return {};
}

std::shared_ptr<const Secret> ImgSecrets::find(const std::string& id) const {
  const auto found = secrets_.find(id);
  return found == secrets_.end() ? nullptr : found->second;
}

Result<std::shared_ptr<const Secret>> ImgSecrets::need(const std::string& id) const {
  auto secret = find(id);
  if (secret == nullptr) return fail(ErrorKind::kUsage, "No secret with id '{}'", id);
  return secret;
}

Result<blockcore::ImageKeys> ImgSecrets::keys(const std::vector<EncryptWords>& levels) const {
  blockcore::ImageKeys keys;
  for (const EncryptWords& words : levels) {
    blockcore::ImageKey& key = keys.emplace_back();
    if (!words.secret_id.empty()) key.secret = TRY(need(words.secret_id));
    if (!words.format.empty())
      key.encryption = words.format == "luks" ? blockcore::DiskEncryption::kLuks
                                              : blockcore::DiskEncryption::kAes;
  }
  return keys;
}

void ImgCommon::add_options(CommandLine& app) {
  app.add_option("--object secret,id=NAME,file=PATH", objects,
                 "secret,id=NAME,file=PATH: a key that images may need");
  app.add_flag("--image-opts", image_opts,
               "image names are node options: driver=qcow2,file.filename=PATH");
  app.add_flag("-U,--force-share", force_share, "also while a program writes to the image");
  app.add_flag("-q", quiet, "print nothing but errors");
}

Result<void> ImgCommon::finish() {
  for (const std::string& object : objects)
    if (auto added = secrets.add(object); !added) return added;
  return {};
}

Result<blockcore::SnapshotChoice> parse_img_snapshot(const std::string& text) {
  if (!text.starts_with("snapshot.")) return blockcore::SnapshotChoice{.any = text};
  blockcore::SnapshotChoice choice;
  for (const std::string& word : split_at_commas(text)) {
    const size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    if (equals != std::string::npos && key == "snapshot.id")
      choice.id = word.substr(equals + 1);
    else if (equals != std::string::npos && key == "snapshot.name")
      choice.name = word.substr(equals + 1);
    else
      return fail(ErrorKind::kUsage, "Failed in parsing snapshot param '{}'", text);
  }
  return choice;
}

Result<CacheMode> parse_img_cache(const std::string& name) {
  if (name == "off") return CacheMode::kNone;
  for (const auto& [word, mode] : kCacheModeWords)
    if (name == word) return mode;
  return fail(ErrorKind::kUsage, "Invalid cache option: {}", name);
}

Result<uint64_t> parse_img_number(const std::string& text, const std::string& what, uint64_t least,
                                  uint64_t most) {
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end || value < least || value > most)
    return fail(ErrorKind::kUsage, "Invalid {} specified", what);
  return value;
}

}  // namespace hull::cli
