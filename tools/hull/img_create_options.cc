#include "tools/hull/img_create_options.h"

#include <bit>
#include <utility>

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
        (format == DiskFormat::kQcow2 || value != Preallocation::kMetadata)) {
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

Result<void> set_option(const Suboption& option, CreateImageOptions& create) {
  Qcow2CreateOptions& image = create.qcow2;
  const std::string& key = option.key;
  if (key == "size") {
    create.size_bytes = TRY(parse_img_size(option.value));
    return {};
  }
  if (key == "preallocation") return set_preallocation(option, create.format, image);
  if (create.format == DiskFormat::kRaw)
    return fail(ErrorKind::kUsage, "Invalid parameter '{}'", key);
  if (key == "cluster_size") return set_cluster_size(option, image);
  if (key == "refcount_bits") return set_refcount_bits(option, image);
  if (key == "backing_file") {
    image.backing_name = option.value;
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
    for (const Suboption& option : TRY(parse_suboptions(word, ""))) {
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
