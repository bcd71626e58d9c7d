#include "blockcore/qcow2/format/header.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/qcow2/format/extensions.h"
#include "blockcore/qcow2/format/header_layout.h"

namespace hull::blockcore::qcow2 {
namespace {

// "field (byte N) is VALUE, REQUIREMENT": every complaint about a field has this form.
std::unexpected<Error> bad_field(std::string_view field, unsigned byte, uint64_t value,
                                 std::string_view requirement) {
  return fail(ErrorKind::kInvalidFormat, "qcow2 header: {} (byte {}) is {:#x}, {}", field, byte,
              value, requirement);
}

// A cluster-aligned table of `entries` items that an unsigned 63-bit offset can still address.
Result<void> check_table(std::string_view field, unsigned byte, uint64_t offset, uint64_t bytes,
                         const Geometry& geometry) {
  if (geometry.offset_in_cluster(offset) != 0)
    return bad_field(field, byte, offset, "not a multiple of the cluster size");
  if (offset == 0) return bad_field(field, byte, offset, "which is the header itself");
  if (!range_fits(offset, bytes, kMaxHostBytes))
    return bad_field(field, byte, offset, "the table there ends past the largest host offset");
  return {};
}

Result<void> decode_geometry(const HeaderLayout& raw, uint32_t header_length, Header& header) {
  header.geometry.cluster_bits = raw.cluster_bits;
  if (raw.cluster_bits < kMinClusterBits || raw.cluster_bits > kMaxClusterBits)
    return bad_field("cluster_bits", 20, raw.cluster_bits, "must be 9 to 21");
  if (header.version == 2) return {};

  if (header_length < kHeaderLengthV3 || header_length % 8 != 0 ||
      header_length > header.geometry.cluster_bytes())
    return bad_field("header_length", 100, header_length,
                     "must be a multiple of 8, at least 104 and at most a cluster");
  if (raw.refcount_order > kMaxRefcountOrder)
    return bad_field("refcount_order", 96, raw.refcount_order, "must be at most 6");
  header.geometry.refcount_order = raw.refcount_order;
  header.incompatible = raw.incompatible;
  header.compatible = raw.compatible;
  header.autoclear = raw.autoclear;
  header.geometry.extended_l2 = (header.incompatible & kIncompatibleExtendedL2) != 0;
  if (header.geometry.extended_l2 && raw.cluster_bits < kMinExtendedClusterBits)
    return bad_field("cluster_bits", 20, raw.cluster_bits,
                     "must be at least 14 with extended L2 entries");
  return {};
}

Result<void> decode_compression(const HeaderLayout& raw, uint32_t header_length, Header& header) {
  const uint32_t type = header_length > kHeaderLengthV3 ? raw.compression >> 24 : 0;
  const bool announced = (header.incompatible & kIncompatibleCompression) != 0;
  if (announced != (type != 0))
    return bad_field("compression_type", 104, type, "which contradicts incompatible feature bit 3");
  if (type > static_cast<uint32_t>(CompressionType::kZstd))
    return bad_field("compression_type", 104, type, "must be 0 (zlib) or 1 (zstd)");
  header.compression = static_cast<CompressionType>(type);
  return {};
}

Result<void> decode_tables(const HeaderLayout& raw, Header& header) {
  const Geometry& geometry = header.geometry;
  header.size_bytes = raw.size_bytes;
  if (header.size_bytes > kMaxGuestBytes)
    return bad_field("size", 24, header.size_bytes, "more than qcow2 can map");

  header.l1_entries = raw.l1_entries;
  header.l1_offset = raw.l1_offset;
  const uint64_t l1_bytes = uint64_t{header.l1_entries} * 8;
  if (l1_bytes > kMaxL1Bytes)
    return bad_field("l1_size", 36, header.l1_entries, "the L1 table would exceed 32 MiB");
  if (header.l1_entries < geometry.l1_entries_for(header.size_bytes))
    return bad_field("l1_size", 36, header.l1_entries, "too small for the size of the disk");
  if (header.l1_entries != 0)
    TRY(check_table("l1_table_offset", 40, header.l1_offset, l1_bytes, geometry));

  header.refcount_table_offset = raw.refcount_table_offset;
  header.refcount_table_clusters = raw.refcount_table_clusters;
  header.snapshot_count = raw.snapshot_count;
  header.snapshots_offset = raw.snapshots_offset;
  return {};
}

Result<void> decode_backing_name(const HeaderLayout& raw, std::span<const std::byte> area,
                                 uint32_t header_length, Header& header) {
  const uint64_t offset = raw.backing_name_offset;
  const uint32_t bytes = raw.backing_name_bytes;
  if (offset == 0) return {};
  const uint64_t cluster = header.geometry.cluster_bytes();
  if (offset < header_length || offset > cluster)
    return bad_field("backing_file_offset", 8, offset,
                     "must lie between the header and the end of the first cluster");
  if (bytes > kMaxBackingNameBytes || bytes > cluster - offset)
    return bad_field("backing_file_size", 16, bytes,
                     "must be at most 1023 and end inside the first cluster");
  if (offset + bytes > area.size())
    return fail(ErrorKind::kOutOfRange, "qcow2 header: the file ends inside the backing file name");
  header.backing_name.resize(bytes);
  std::memcpy(header.backing_name.data(), area.data() + offset, bytes);
  if (header.backing_name.find('\0') != std::string::npos)
    return fail(ErrorKind::kInvalidFormat,
                "qcow2 header: the backing file name (byte {:#x}) holds a NUL byte", offset);
  return {};
}

Result<HeaderLayout> read_layout(std::span<const std::byte> area) {
  HeaderLayout raw{};
  if (area.size() >= 8) {
    std::memcpy(&raw, area.data(), 8);
    if (raw.magic != kMagic)
      return fail(ErrorKind::kInvalidFormat,
                  "not a qcow2 image: byte 0 is not \"QFI\\xfb\"; is it raw (format=raw, -f raw)?");
    if (raw.version == 1)
      return fail(ErrorKind::kUnsupported,
                  "qcow2 header: version (byte 4) is 1: convert the image with qemu-img first");
    if (raw.version != 2 && raw.version != 3)
      return bad_field("version", 4, raw.version, "hull knows 2 and 3");
  }
  const size_t needed = raw.version == 2 ? kHeaderLengthV2 : kHeaderLengthV3;
  if (area.size() < needed)
    return fail(ErrorKind::kInvalidFormat, "not a qcow2 image: the file has only {} bytes",
                area.size());
  std::memcpy(&raw, area.data(), std::min(needed, sizeof raw));
  if (raw.version == 3 && raw.header_length > kHeaderLengthV3) {
    if (area.size() < sizeof raw)
      return fail(ErrorKind::kInvalidFormat, "qcow2 header: the file ends inside the header");
    std::memcpy(&raw, area.data(), sizeof raw);
  }
  return raw;
}

HeaderLayout fixed_fields(const Header& header) {
  HeaderLayout raw{};
  raw.magic = kMagic;
  raw.version = header.version;
  raw.cluster_bits = header.geometry.cluster_bits;
  raw.size_bytes = header.size_bytes;
  raw.encryption_method = header.encryption_method;
  raw.l1_entries = header.l1_entries;
  raw.l1_offset = header.l1_offset;
  raw.refcount_table_offset = header.refcount_table_offset;
  raw.refcount_table_clusters = header.refcount_table_clusters;
  raw.snapshot_count = header.snapshot_count;
  raw.snapshots_offset = header.snapshots_offset;
  raw.incompatible = header.incompatible;
  raw.compatible = header.compatible;
  raw.autoclear = header.autoclear;
  raw.refcount_order = header.geometry.refcount_order;
  raw.header_length = static_cast<uint32_t>(sizeof raw + header.unknown_fields.size());
  raw.compression = static_cast<uint32_t>(header.compression) << 24;
  return raw;
}

}  // namespace

size_t header_area_bytes(std::span<const std::byte> first_bytes) {
  HeaderLayout raw{};
  if (!first_bytes.empty())
    std::memcpy(&raw, first_bytes.data(), std::min(first_bytes.size(), sizeof raw));
  const uint32_t bits = std::clamp<uint32_t>(raw.cluster_bits, kMinClusterBits, kMaxClusterBits);
  return size_t{1} << bits;
}

HeaderPlaces header_places(std::span<const std::byte> area) {
  HeaderLayout raw{};
  std::memcpy(&raw, area.data(), std::min(area.size(), sizeof raw));
  const uint32_t begin = raw.version == 2 ? kHeaderLengthV2 : raw.header_length.get();
  const uint64_t name = raw.backing_name_offset;
  const uint64_t end = name != 0 ? std::min<uint64_t>(name, area.size()) : area.size();
  return {extensions_end(area, begin, end), name, name + raw.backing_name_bytes};
}

Result<Header> decode_header(std::span<const std::byte> area) {
  const HeaderLayout raw = TRY(read_layout(area));
  Header header;
  header.version = raw.version;
  const uint32_t header_length = header.version == 2 ? kHeaderLengthV2 : raw.header_length.get();
  TRY(decode_geometry(raw, header_length, header));
  area = area.first(std::min<size_t>(area.size(), header.geometry.cluster_bytes()));
  if (header_length > area.size())
    return fail(ErrorKind::kOutOfRange, "qcow2 header: the file ends inside the header");
  if (header_length > sizeof raw)
    header.unknown_fields.assign(area.begin() + sizeof raw, area.begin() + header_length);
  TRY(decode_backing_name(raw, area, header_length, header));
  const uint64_t extensions_end = raw.backing_name_offset != 0 ? raw.backing_name_offset.get()
                                                               : header.geometry.cluster_bytes();
  TRY(decode_extensions(area, header_length, extensions_end, header));
  if (const uint64_t unknown = header.incompatible & ~kIncompatibleKnown; unknown != 0)
    return fail(ErrorKind::kUnsupported,
                "qcow2 header: incompatible_features (byte 72): the image needs {}, which hull "
                "does not know",
                feature_names(header, FeatureKind::kIncompatible, unknown));
  if (raw.encryption_method > 2)
    return bad_field("crypt_method", 32, raw.encryption_method, "must be 0, 1 or 2");
  header.encryption_method = raw.encryption_method;
  TRY(decode_compression(raw, header_length, header));
  TRY(decode_tables(raw, header));
  return header;
}

std::string Header::data_file_name() const {
  for (const HeaderExtension& extension : extensions)
    if (extension.type == kExtensionDataFile)
      return {reinterpret_cast<const char*>(extension.data.data()), extension.data.size()};
  return {};
}

void Header::set_data_file_name(std::string_view name) {
  std::erase_if(extensions,
                [](const HeaderExtension& one) { return one.type == kExtensionDataFile; });
  if (name.empty()) return;
  const auto bytes = std::as_bytes(std::span(name));
  extensions.insert(extensions.begin(), {kExtensionDataFile, {bytes.begin(), bytes.end()}});
}

Result<void> check_refcount_table(const Header& header, uint64_t file_bytes) {
  const Geometry& geometry = header.geometry;
  const uint64_t table_bytes = geometry.offset_of(header.refcount_table_clusters);
  if (header.refcount_table_clusters == 0 || table_bytes > kMaxRefcountTableBytes)
    return bad_field("refcount_table_clusters", 56, header.refcount_table_clusters,
                     "the refcount table must have 1 cluster to 8 MiB");
  TRY(check_table("refcount_table_offset", 48, header.refcount_table_offset, table_bytes,
                  geometry));
  const uint64_t end = align_up(std::min(file_bytes, kMaxHostBytes), geometry.cluster_bytes());
  if (header.refcount_table_offset + table_bytes > end)
    return fail(ErrorKind::kCorrupt,
                "qcow2 header: the refcount table at {:#x} ends past the end of the file ({:#x})",
                header.refcount_table_offset, file_bytes);
  return {};
}

Result<void> check_writable(const Header& header, uint64_t file_bytes) {
  const Geometry& geometry = header.geometry;
  // Both are below kMaxHostBytes, so that nothing overflows.
  const uint64_t end = align_up(std::min(file_bytes, kMaxHostBytes), geometry.cluster_bytes());
  if (header.l1_entries != 0 && header.l1_offset + uint64_t{header.l1_entries} * 8 > end)
    return fail(ErrorKind::kCorrupt,
                "qcow2 header: the L1 table at {:#x} ends past the end of the file ({:#x})",
                header.l1_offset, file_bytes);
  return check_refcount_table(header, file_bytes);
}

Result<void> check_supported(const Header& header) {
  if (header.encryption_method != 0 && header.has_data_file())
    return fail(ErrorKind::kUnsupported,
                "qcow2 header: crypt_method (byte 32) is {}: hull has no encryption of external "
                "data files",
                header.encryption_method);
  return {};
}

const HeaderExtension* Header::find_extension(uint32_t type) const {
  const auto found = std::ranges::find(extensions, type, &HeaderExtension::type);
  return found == extensions.end() ? nullptr : &*found;
}

Result<std::vector<std::byte>> encode_header(const Header& header, uint64_t named_bytes,
                                             uint64_t name_offset) {
  HeaderLayout raw = fixed_fields(header);
  const size_t fixed_bytes = header.version == 2 ? kHeaderLengthV2 : sizeof raw;
  std::vector<std::byte> area;
  // A small cluster may have room for the name but not for the table of feature names.
  for (const bool with_names : {true, false}) {
    area.assign(fixed_bytes, std::byte{});
    if (header.version >= 3)
      area.insert(area.end(), header.unknown_fields.begin(), header.unknown_fields.end());
    append_extensions(header, with_names && header.version >= 3, area);
    if (area.size() + header.backing_name.size() <=
        std::min(named_bytes, header.geometry.cluster_bytes()))
      break;
  }
  if (!header.backing_name.empty()) area.resize(std::max<size_t>(area.size(), name_offset));
  if (header.backing_name.size() > kMaxBackingNameBytes ||
      area.size() + header.backing_name.size() > header.geometry.cluster_bytes())
    return fail(ErrorKind::kOutOfRange,
                "the name of the backing file has {} bytes, too many for the header",
                header.backing_name.size());
  if (!header.backing_name.empty()) {
    raw.backing_name_offset = area.size();
    raw.backing_name_bytes = static_cast<uint32_t>(header.backing_name.size());
    const auto* name = reinterpret_cast<const std::byte*>(header.backing_name.data());
    area.insert(area.end(), name, name + header.backing_name.size());
  }
  std::memcpy(area.data(), &raw, fixed_bytes);
  return area;
}

}  // namespace hull::blockcore::qcow2
