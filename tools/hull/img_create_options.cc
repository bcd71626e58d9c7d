#include "tools/hull/img_create_options.h"

#include <bit>
#include <span>
#include <utility>

#include "blockcore/format_table.h"
#include "tools/hull/img.h"
#include "tools/hull/img_encrypt_options.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {
namespace {

using blockcore::CreateImageOptions;
using blockcore::DiskFormat;
using blockcore::Preallocation;
using blockcore::Qcow2CreateOptions;

std::unexpected<Error> bad_value(const Suboption& option) {
  return fail(ErrorKind::kUsage, "Invalid parameter '{}' for '{}'", option.value, option.key);
}

constexpr std::pair<std::string_view, Preallocation> kPreallocations[] = {
    {"off", Preallocation::kOff},
    {"metadata", Preallocation::kMetadata},
    {"falloc", Preallocation::kFalloc},
    {"full", Preallocation::kFull},
};

Result<void> set_preallocation(const Suboption& option, DiskFormat format,
                               Qcow2CreateOptions& image) {
  for (const auto& [name, value] : kPreallocations)
    if (option.value == name &&
        (blockcore::driver_of(format).has.metadata || value != Preallocation::kMetadata)) {
      image.preallocation = value;
      return {};
    }
  return bad_value(option);
}

Result<void> set_cluster_size(const Suboption& option, Qcow2CreateOptions& image) {
  const uint64_t bytes = TRY(parse_img_size(option.value));
  if (!std::has_single_bit(bytes) || bytes < 512 || bytes > 2 << 20)
    return fail(ErrorKind::kUsage, "Cluster size must be a power of two between 512 and 2048k");
  image.cluster_bits = static_cast<uint32_t>(std::countr_zero(bytes));
  return {};
}

Result<void> set_refcount_bits(const Suboption& option, Qcow2CreateOptions& image) {
  const uint64_t bits = TRY(parse_img_size(option.value));
  if (!std::has_single_bit(bits) || bits > 64)
    return fail(ErrorKind::kUsage,
                "Refcount width must be a power of two and may not exceed 64 bits");
  image.refcount_order = static_cast<uint32_t>(std::countr_zero(bits));
  return {};
}

Result<void> check_hint(const Suboption& option) {
  (void)TRY(parse_img_size(option.value));
  return {};
}

// KEY=VALUE, or KEY alone for on.
Result<std::vector<Suboption>> parse_create_words(const std::string& words) {
  std::vector<Suboption> options;
  for (const std::string& word : split_at_commas(words)) {
    const size_t equals = word.find('=');
    if (word.empty() || equals == 0)
      return fail(ErrorKind::kUsage, "Invalid option list: {}", words);
    if (equals == std::string::npos)
      options.push_back({word, "on"});
    else
      options.push_back({word.substr(0, equals), word.substr(equals + 1)});
  }
  return options;
}

struct OptionText {
  const char* name;
  const char* text;
};
constexpr OptionText kRawOptions[] = {
    {"extent_size_hint=<size>", "accepted; hull gives the host no such hint"},
    {"nocow=<bool (on/off)>", "no copy on write by the file system (btrfs)"},
    {"preallocation=<str>", "off, falloc or full"},
    {"size=<size>", "of the disk"},
};
constexpr OptionText kQcow2Options[] = {
    {"backing_file=<str>", "the image below"},
    {"backing_fmt=<str>", "its format: raw or qcow2"},
    {"cluster_size=<size>", "512 to 2M (64k)"},
    {"compat=<str>", "version: 0.10 or 1.1"},
    {"compression_type=<str>", "of compressed clusters: zlib or zstd"},
    {"data_file=<str>", "a file of its own for the guest's data"},
    {"data_file_raw=<bool (on/off)>", "which alone reads as the disk"},
    {"encrypt.cipher-alg=<str>", "aes-256 or aes-128"},
    {"encrypt.cipher-mode=<str>", "xts or cbc"},
    {"encrypt.format=<str>", "luks"},
    {"encrypt.hash-alg=<str>", "of the key derivation: sha256, sha1 or sha512"},
    {"encrypt.iter-time=<num>", "of the key derivation, in milliseconds"},
    {"encrypt.ivgen-alg=<str>", "plain64 or essiv"},
    {"encrypt.ivgen-hash-alg=<str>", "of essiv: sha256"},
    {"encrypt.key-secret=<str>", "id of the secret (--object)"},
    {"encryption=<bool (on/off)>", "off; the old scheme is not made"},
    {"extended_l2=<bool (on/off)>", "32 subclusters in each cluster"},
    {"extent_size_hint=<size>", "accepted; hull gives the host no such hint"},
    {"lazy_refcounts=<bool (on/off)>", "a mark for other programs"},
    {"nocow=<bool (on/off)>", "no copy on write by the file system (btrfs)"},
    {"preallocation=<str>", "off, metadata, falloc or full"},
    {"refcount_bits=<num>", "1 to 64 (16)"},
    {"size=<size>", "of the disk"},
};

Result<void> set_option(const Suboption& option, CreateImageOptions& create) {
  Qcow2CreateOptions& image = create.qcow2;
  const std::string& key = option.key;
  if (key == "size") {
    create.size_bytes = TRY(parse_img_size(option.value));
    return {};
  }
  // A hint to some file systems, of which hull makes no use.
  if (key == "extent_size_hint") return check_hint(option);
  if (key == "nocow") {
    create.nocow = TRY(parse_switch(option));
    return {};
  }
  if (key == "preallocation") return set_preallocation(option, create.format, image);
  if (create.format == DiskFormat::kRaw)
    return fail(ErrorKind::kUsage, "Invalid parameter '{}'", key);
  if (key == "cluster_size") return set_cluster_size(option, image);
  if (key == "refcount_bits") return set_refcount_bits(option, image);
  if (key == "backing_file") {
    if (option.value.empty())
      return fail(ErrorKind::kUsage, "Expected backing file name, got empty string");
    image.backing_name = option.value;
  } else if (key == "encryption") {
    if (TRY(parse_switch(option)))
      return fail(ErrorKind::kUnsupported,
                  "encryption=on is the old AES scheme: use encrypt.format=luks");
  } else if (key == "backing_fmt") {
    image.backing_format = option.value;
  } else if (key == "lazy_refcounts") {
    image.lazy_refcounts = TRY(parse_switch(option));
  } else if (key == "extended_l2") {
    image.extended_l2 = TRY(parse_switch(option));
  } else if (key == "data_file") {
    image.data_file_name = option.value;
  } else if (key == "data_file_raw") {
    image.data_file_raw = TRY(parse_switch(option));
  } else if (key == "compat") {
    if (option.value != "0.10" && option.value != "1.1" && option.value != "v2" &&
        option.value != "v3")
      return fail(ErrorKind::kUsage, "Invalid compatibility level: '{}'", option.value);
    image.version = option.value == "0.10" || option.value == "v2" ? 2 : 3;
  } else if (key == "compression_type") {
    if (option.value != "zlib" && option.value != "zstd") return bad_value(option);
    image.compression = option.value == "zlib" ? blockcore::qcow2::CompressionType::kZlib
                                               : blockcore::qcow2::CompressionType::kZstd;
  } else {
    return fail(ErrorKind::kUsage, "Invalid parameter '{}'", key);
  }
  return {};
}

}  // namespace

Result<void> set_create_options(const std::vector<std::string>& words, CreateImageOptions& create,
                                const ImgSecrets& secrets) {
  std::vector<Suboption> encryption;
  for (const std::string& word : words)
    for (const Suboption& option : TRY(parse_create_words(word).with_context(create.path))) {
      if (create.format == DiskFormat::kQcow2 && option.key.starts_with("encrypt."))
        encryption.push_back(option);
      else
        TRY(set_option(option, create).with_context(create.path));
    }
  if (encryption.empty()) return {};
  create.qcow2.encryption =
      TRY(read_encrypt_options(encryption, secrets).with_context(create.path));
  return {};
}

Result<void> check_backing_words(const CreateImageOptions& create) {
  if (create.qcow2.backing_name.empty() && !create.qcow2.backing_format.empty())
    return fail(ErrorKind::kUsage, "{}: Backing format cannot be used without backing file",
                create.path);
  return {};
}

bool wants_option_list(const std::vector<std::string>& words) {
  for (const std::string& word : words)
    for (const std::string& one : split_at_commas(word))
      if (one == "help" || one == "?") return true;
  return false;
}

int print_create_options(const std::string& format) {
  const auto known = parse_img_format("-o", format);
  if (!known) return img_fail(known.error());
  const std::span<const OptionText> options =
      *known == DiskFormat::kRaw ? std::span<const OptionText>(kRawOptions) : kQcow2Options;
  fmt::print("Supported options:\n");
  for (const OptionText& option : options) fmt::print("  {:<30} - {}\n", option.name, option.text);
  return 0;
}

std::string describe_create(const CreateImageOptions& create, uint64_t size_bytes) {
  const Qcow2CreateOptions& image = create.qcow2;
  std::string preallocation;
  for (const auto& [name, value] : kPreallocations)
    if (value == image.preallocation && value != Preallocation::kOff)
      preallocation = fmt::format(" preallocation={}", name);
  if (create.format == DiskFormat::kRaw)
    return fmt::format("fmt=raw size={}{}", size_bytes, preallocation);
  std::string text = fmt::format(
      "fmt=qcow2 cluster_size={} extended_l2={}{} compression_type={} size={}",
      uint64_t{1} << image.cluster_bits, image.extended_l2 ? "on" : "off", preallocation,
      image.compression == blockcore::qcow2::CompressionType::kZlib ? "zlib" : "zstd", size_bytes);
  if (image.version == 2) text += " compat=0.10";
  if (!image.backing_name.empty())
    text +=
        fmt::format(" backing_file={} backing_fmt={}", image.backing_name, image.backing_format);
  if (!image.data_file_name.empty()) text += fmt::format(" data_file={}", image.data_file_name);
  if (image.data_file_raw) text += " data_file_raw=on";
  return text + fmt::format(" lazy_refcounts={} refcount_bits={}",
                            image.lazy_refcounts ? "on" : "off", 1U << image.refcount_order);
}

}  // namespace hull::cli
