#include "blockcore/qcow2/format/extensions.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/checked.h"
#include "base/endian.h"

namespace hull::blockcore::qcow2 {
namespace {

struct ExtensionLayout {
  Be32 type;   // 0
  Be32 bytes;  // 4: of the data that follows, without the padding to a multiple of 8
};
static_assert(sizeof(ExtensionLayout) == 8);

struct FeatureNameLayout {
  unsigned char kind;  // 0: FeatureKind
  unsigned char bit;   // 1
  char name[46];       // 2: padded with zeros
};
static_assert(sizeof(FeatureNameLayout) == 48);

struct FeatureName {
  FeatureKind kind;
  uint8_t bit;
  std::string_view name;
};
constexpr FeatureName kFeatureNames[] = {
    {FeatureKind::kIncompatible, 0, "dirty bit"},
    {FeatureKind::kIncompatible, 1, "corrupt bit"},
    {FeatureKind::kIncompatible, 2, "external data file"},
    {FeatureKind::kIncompatible, 3, "compression type"},
    {FeatureKind::kIncompatible, 4, "extended L2 entries"},
    {FeatureKind::kCompatible, 0, "lazy refcounts"},
    {FeatureKind::kAutoclear, 0, "bitmaps"},
    {FeatureKind::kAutoclear, 1, "raw external data"},
};

HeaderExtension feature_name_table() {
  HeaderExtension table{kExtensionFeatureNames, {}};
  table.data.resize(sizeof(FeatureNameLayout) * std::size(kFeatureNames));
  std::byte* at = table.data.data();
  for (const FeatureName& feature : kFeatureNames) {
    FeatureNameLayout raw{};
    raw.kind = static_cast<unsigned char>(feature.kind);
    raw.bit = feature.bit;
    std::memcpy(raw.name, feature.name.data(), feature.name.size());
    std::memcpy(at, &raw, sizeof raw);
    at += sizeof raw;
  }
  return table;
}

void append_extension(uint32_t type, std::span<const std::byte> data,
                      std::vector<std::byte>& area) {
  const ExtensionLayout raw{type, static_cast<uint32_t>(data.size())};
  const auto* bytes = reinterpret_cast<const std::byte*>(&raw);
  area.insert(area.end(), bytes, bytes + sizeof raw);
  area.insert(area.end(), data.begin(), data.end());
  area.resize(align_up<size_t>(area.size(), 8));
}

std::string printable(std::string_view text) {
  std::string shown(text.substr(0, text.find('\0')));
  std::ranges::replace_if(shown, [](char c) { return c < ' ' || c > '~'; }, '?');
  return shown;
}

}  // namespace

Result<void> decode_extensions(std::span<const std::byte> area, uint64_t begin, uint64_t end,
                               Header& header) {
  uint64_t at = begin;
  while (end - at >= sizeof(ExtensionLayout)) {
    ExtensionLayout raw;
    if (at + sizeof raw > area.size())
      return fail(ErrorKind::kOutOfRange, "qcow2 header: the file ends inside the extensions");
    std::memcpy(&raw, area.data() + at, sizeof raw);
    if (raw.type == kExtensionEnd) return {};
    at += sizeof raw;
    if (raw.bytes > end - at)
      return fail(ErrorKind::kInvalidFormat,
                  "qcow2 header: extension {:#x} at {:#x} has {:#x} bytes, more than its area",
                  raw.type.get(), at - sizeof raw, raw.bytes.get());
    if (at + raw.bytes > area.size())
      return fail(ErrorKind::kOutOfRange, "qcow2 header: the file ends inside the extensions");
    if (raw.type != kExtensionFeatureNames && header.find_extension(raw.type) != nullptr)
      return fail(ErrorKind::kInvalidFormat, "qcow2 header: extension {:#x} appears twice",
                  raw.type.get());
    const auto data = area.subspan(at, raw.bytes);
    if (raw.type == kExtensionBackingFormat) {
      header.backing_format.emplace(reinterpret_cast<const char*>(data.data()), data.size());
      *header.backing_format = printable(*header.backing_format);
    } else {
      header.extensions.push_back({raw.type, {data.begin(), data.end()}});
    }
    at += std::min(end - at, align_up<uint64_t>(raw.bytes, 8));
  }
  return {};
}

uint64_t extensions_end(std::span<const std::byte> area, uint64_t begin, uint64_t end) {
  uint64_t at = begin;
  ExtensionLayout raw;
  while (at + sizeof raw <= end) {
    std::memcpy(&raw, area.data() + at, sizeof raw);
    at += sizeof raw;
    if (raw.type == kExtensionEnd) return at;
    at = std::min(end, at + align_up<uint64_t>(raw.bytes, 8));
  }
  return end;
}

void append_extensions(const Header& header, bool with_feature_names,
                       std::vector<std::byte>& area) {
  if (header.backing_format)
    append_extension(kExtensionBackingFormat, std::as_bytes(std::span(*header.backing_format)),
                     area);
  if (with_feature_names && header.find_extension(kExtensionFeatureNames) == nullptr)
    append_extension(kExtensionFeatureNames, feature_name_table().data, area);
  for (const HeaderExtension& extension : header.extensions)
    if (with_feature_names || extension.type != kExtensionFeatureNames)
      append_extension(extension.type, extension.data, area);
  append_extension(kExtensionEnd, {}, area);
}

std::string feature_names(const Header& header, FeatureKind kind, uint64_t bits) {
  std::string names;
  for (const HeaderExtension& extension : header.extensions) {
    if (extension.type != kExtensionFeatureNames) continue;
    for (size_t at = 0; at + sizeof(FeatureNameLayout) <= extension.data.size();
         at += sizeof(FeatureNameLayout)) {
      FeatureNameLayout raw;
      std::memcpy(&raw, extension.data.data() + at, sizeof raw);
      if (raw.kind != static_cast<unsigned char>(kind) || raw.bit > 63) continue;
      if ((bits & uint64_t{1} << raw.bit) == 0) continue;
      bits &= ~(uint64_t{1} << raw.bit);
      names += fmt::format("{}'{}' (bit {})", names.empty() ? "" : ", ",
                           printable({raw.name, sizeof raw.name}), raw.bit);
    }
  }
  for (unsigned bit = 0; bit < 64; ++bit)
    if ((bits & uint64_t{1} << bit) != 0)
      names += fmt::format("{}feature bit {}", names.empty() ? "" : ", ", bit);
  return names;
}

}  // namespace hull::blockcore::qcow2
