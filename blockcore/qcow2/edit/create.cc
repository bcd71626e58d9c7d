#include "blockcore/qcow2/edit/create.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/qcow2/format/encryption.h"
#include "blockcore/qcow2/format/header.h"
#include "blockcore/qcow2/format/refcount_block.h"

namespace hull::blockcore {
namespace {

using namespace qcow2;

// The clusters of a new image: header, refcount table, refcount blocks, L1 table, the LUKS header,
// and with preallocation L2 tables and data, one after the other.
struct Layout {
  Geometry geometry;
  uint64_t table_clusters = 1;
  uint64_t blocks = 1;
  uint64_t l1_entries = 0;
  uint64_t l1_clusters = 0;
  uint64_t luks_clusters = 0;
  uint64_t l2_tables = 0;
  uint64_t data_clusters = 0;  // that L2 entries point at
  bool external = false;       // they are in the data file

  uint64_t first_block() const { return 1 + table_clusters; }
  uint64_t first_l1() const { return first_block() + blocks; }
  uint64_t first_luks() const { return first_l1() + l1_clusters; }
  uint64_t first_l2() const { return first_luks() + luks_clusters; }
  uint64_t first_data() const { return first_l2() + l2_tables; }
  uint64_t end() const { return first_data() + (external ? 0 : data_clusters); }
};

Result<void> check_data_file(const Qcow2CreateOptions& options) {
  if (options.data_file_raw && options.data_file_name.empty())
    return fail(ErrorKind::kInvalidConfig, "data-file-raw requires data-file");
  if (options.data_file_raw && !options.backing_name.empty())
    return fail(ErrorKind::kInvalidConfig,
                "Backing file and data-file-raw cannot be used at the same time");
  if (!options.data_file_name.empty() && options.version == 2)
    return fail(ErrorKind::kInvalidConfig,
                "External data files are only supported with compatibility level 1.1 and above "
                "(use version=v3 or greater)");
  return {};
}

Result<Layout> plan(const Qcow2CreateOptions& options, uint64_t luks_bytes) {
  Layout layout;
  layout.geometry = {options.cluster_bits, options.refcount_order, options.extended_l2};
  const Geometry& geometry = layout.geometry;
  layout.l1_entries = geometry.l1_entries_for(options.size_bytes);
  if (layout.l1_entries * 8 > kMaxL1Bytes)
    return fail(ErrorKind::kOutOfRange,
                "the image size is too large for qcow2 with a cluster size of {} bytes (try a "
                "larger cluster size)",
                geometry.cluster_bytes());
  layout.l1_clusters = geometry.clusters_for(layout.l1_entries * 8);
  layout.external = !options.data_file_name.empty();
  layout.luks_clusters = geometry.clusters_for(luks_bytes);
  if (options.preallocation != Preallocation::kOff) {
    layout.l2_tables = layout.l1_entries;
    layout.data_clusters = geometry.clusters_for(options.size_bytes);
  }
  // Blocks describe themselves and the table; both only grow.
  for (;;) {
    const uint64_t blocks = divide_up(layout.end(), geometry.refcounts_per_block());
    const uint64_t tables = geometry.clusters_for(blocks * 8);
    if (blocks == layout.blocks && tables == layout.table_clusters) break;
    layout.blocks = std::max(layout.blocks, blocks);
    layout.table_clusters = std::max(layout.table_clusters, tables);
  }
  if (geometry.offset_of(layout.table_clusters) > kMaxRefcountTableBytes ||
      layout.end() > geometry.cluster_of(kMaxHostBytes))
    return fail(ErrorKind::kOutOfRange, "the preallocated image would be too large for qcow2");
  return layout;
}

// A table of `count` entries that point at clusters in a row. The bitmaps of extended L2 entries
// are zeros: there is room for the subclusters, and they still read from the backing file.
Task<Result<void>> write_pointers(File& file, uint64_t offset, uint64_t first_target,
                                  uint64_t count, const Geometry& geometry, uint64_t flags,
                                  uint32_t entry_bytes = sizeof(uint64_t)) {
  constexpr uint64_t kEntriesAtOnce = 1 << 16;
  std::vector<std::byte> bytes;
  for (uint64_t done = 0; done < count;) {
    const uint64_t now = std::min(kEntriesAtOnce, count - done);
    bytes.assign(now * entry_bytes, std::byte{});
    for (uint64_t i = 0; i < now; ++i) {
      const Be64 entry = geometry.offset_of(first_target + done + i) | flags;
      std::memcpy(bytes.data() + i * entry_bytes, &entry, sizeof entry);
    }
    CO_TRY_VOID(co_await write_exactly(file, offset + done * entry_bytes, bytes));
    done += now;
  }
  co_return {};
}

Task<Result<void>> write_refcounts(File& file, const Layout& layout) {
  const Geometry& geometry = layout.geometry;
  CO_TRY_VOID(co_await write_pointers(file, geometry.cluster_bytes(), layout.first_block(),
                                      layout.blocks, geometry, 0));
  std::vector<std::byte> block(geometry.cluster_bytes());
  for (uint64_t i = 0; i < layout.blocks; ++i) {
    const uint64_t first = i * geometry.refcounts_per_block();
    const uint64_t count = std::min(geometry.refcounts_per_block(), layout.end() - first);
    std::ranges::fill(block, std::byte{});
    for (uint64_t at = 0; at < count; ++at)
      set_refcount(block.data(), geometry.refcount_order, at, 1);
    CO_TRY_VOID(co_await write_exactly(file, geometry.offset_of(layout.first_block() + i), block));
  }
  co_return {};
}

// With a data file, each cluster at the guest's offset.
Task<Result<void>> write_mapping(File& file, const Layout& layout) {
  const Geometry& geometry = layout.geometry;
  CO_TRY_VOID(co_await write_pointers(file, geometry.offset_of(layout.first_l1()),
                                      layout.first_l2(), layout.l2_tables, geometry, kCopiedFlag));
  co_return co_await write_pointers(file, geometry.offset_of(layout.first_l2()),
                                    layout.external ? 0 : layout.first_data(), layout.data_clusters,
                                    geometry, kCopiedFlag, geometry.l2_entry_bytes());
}

Task<Result<void>> reserve(File& file, uint64_t data_offset, uint64_t data_bytes,
                           Preallocation kind) {
  if (kind == Preallocation::kFalloc && data_bytes != 0)
    co_return co_await file.allocate(data_offset, data_bytes);
  if (kind == Preallocation::kFull) {
    const std::vector<std::byte> zeros(1 << 20);
    for (uint64_t done = 0; done < data_bytes;) {
      const uint64_t now = std::min<uint64_t>(zeros.size(), data_bytes - done);
      CO_TRY_VOID(co_await write_exactly(file, data_offset + done, std::span(zeros).first(now)));
      done += now;
    }
  }
  co_return {};
}

Header make_header(const Qcow2CreateOptions& options, const Layout& layout) {
  Header header;
  header.version = options.version;
  header.geometry = layout.geometry;
  header.size_bytes = options.size_bytes;
  header.l1_entries = static_cast<uint32_t>(layout.l1_entries);
  header.l1_offset = layout.geometry.offset_of(layout.first_l1());
  header.refcount_table_offset = layout.geometry.cluster_bytes();
  header.refcount_table_clusters = static_cast<uint32_t>(layout.table_clusters);
  header.compression = options.compression;
  if (options.compression != CompressionType::kZlib)
    header.incompatible |= kIncompatibleCompression;
  if (options.extended_l2) header.incompatible |= kIncompatibleExtendedL2;
  if (options.lazy_refcounts) header.compatible |= kCompatibleLazyRefcounts;
  if (!options.data_file_name.empty()) header.incompatible |= kIncompatibleDataFile;
  if (options.data_file_raw) header.autoclear |= kAutoclearRawData;
  header.set_data_file_name(options.data_file_name);
  header.backing_name = options.backing_name;
  if (!options.backing_format.empty()) header.backing_format = options.backing_format;
  if (layout.luks_clusters != 0) {
    header.encryption_method = kEncryptionLuks;
    header.extensions.push_back(
        make_encryption_extension({layout.geometry.offset_of(layout.first_luks()),
                                   layout.geometry.offset_of(layout.luks_clusters)}));
  }
  return header;
}

Result<void> check_room(const File& device, uint64_t bytes) {
  if (bytes <= device.size_bytes()) return {};
  return fail(ErrorKind::kOutOfRange, "the device has only {} bytes, and {} are needed",
              device.size_bytes(), bytes);
}

// What a device holds already shows where tables are not written to their ends, and in clusters
// that are mapped and not written.
Task<Result<void>> clear_device(File& device, const Layout& layout, uint64_t l1_end,
                                Preallocation preallocation) {
  const Geometry& geometry = layout.geometry;
  if (preallocation == Preallocation::kOff)
    co_return co_await device.write_zeroes(0, l1_end, /*may_unmap=*/true);
  const uint64_t first_data = geometry.offset_of(layout.first_data());
  CO_TRY_VOID(co_await device.write_zeroes(0, first_data, /*may_unmap=*/true));
  // kFull writes them.
  const uint64_t data_bytes = geometry.offset_of(layout.end()) - first_data;
  if (preallocation == Preallocation::kFull || data_bytes == 0) co_return {};
  co_return co_await device.write_zeroes(first_data, data_bytes,
                                         preallocation == Preallocation::kMetadata);
}

Task<Result<void>> clear_data_file(File& file, uint64_t size_bytes) {
  if (file.is_block_device()) {
    CO_TRY_VOID(check_room(file, size_bytes).with_context(file.path()));
    co_return co_await file.write_zeroes(0, size_bytes, true);
  }
  CO_TRY_VOID(file.cut_to(0));
  co_return file.extend_to(size_bytes);
}

}  // namespace

Result<void> check_create_options(const Qcow2CreateOptions& options) {
  if (options.version != 2 && options.version != 3)
    return fail(ErrorKind::kInvalidConfig, "there is no qcow2 version {}", options.version);
  if (options.cluster_bits < kMinClusterBits || options.cluster_bits > kMaxClusterBits)
    return fail(ErrorKind::kInvalidConfig,
                "Cluster size must be a power of two between 512 and 2048k");
  if (options.refcount_order > kMaxRefcountOrder)
    return fail(ErrorKind::kInvalidConfig,
                "Refcount width must be a power of two and may not exceed 64 bits");
  if (options.version == 2 && options.refcount_order != 4)
    return fail(
        ErrorKind::kInvalidConfig,
        "Different refcount widths than 16 bits require compatibility level 1.1 or above (use "
        "version=v3 or greater)");
  if (options.version == 2 && options.lazy_refcounts)
    return fail(
        ErrorKind::kInvalidConfig,
        "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or "
        "greater)");
  if (options.version == 2 && options.compression != CompressionType::kZlib)
    return fail(
        ErrorKind::kInvalidConfig,
        "Non-zlib compression type is only supported with compatibility level 1.1 and above (use "
        "version=v3 or greater)");
  if (options.extended_l2 && options.version == 2)
    return fail(ErrorKind::kInvalidConfig,
                "Extended L2 entries are only supported with compatibility level 1.1 and above "
                "(use version=v3 or greater)");
  if (options.extended_l2 && options.cluster_bits < kMinExtendedClusterBits)
    return fail(ErrorKind::kInvalidConfig,
                "Extended L2 entries are only supported with cluster sizes of at least 16384 "
                "bytes");
  if (!options.backing_name.empty() && options.preallocation != Preallocation::kOff &&
      !options.extended_l2)
    return fail(
        ErrorKind::kInvalidConfig,
        "Backing file and preallocation can only be used at the same time if extended_l2 is on");
  TRY(check_data_file(options));
  if (options.encryption && options.preallocation != Preallocation::kOff)
    return fail(ErrorKind::kInvalidConfig,
                "encryption and preallocation exclude each other: what is not written would read "
                "as noise");
  if (options.encryption && !options.data_file_name.empty())
    return fail(ErrorKind::kInvalidConfig, "hull does not encrypt an external data file");
  if (options.size_bytes > kMaxGuestBytes)
    return fail(ErrorKind::kOutOfRange, "the image size is too large for qcow2");
  return {};
}

Task<Result<void>> create_qcow2(File& file, Qcow2CreateOptions options, File* data_file) {
  CHECK(options.data_file_name.empty() == (data_file == nullptr));
  CO_TRY_VOID(check_create_options(options));
  // Every cluster of a raw data file is the guest's, whatever it holds.
  if (options.data_file_raw && options.preallocation == Preallocation::kOff)
    options.preallocation = Preallocation::kMetadata;
  crypto::NewLuks luks;
  if (options.encryption) {
    CO_TRY(luks, crypto::create_luks(options.encryption->luks, *options.encryption->secret));
  }
  CO_TRY(const Layout layout, plan(options, luks.area_bytes));
  CO_TRY(const std::vector<std::byte> header, encode_header(make_header(options, layout)));
  // Everything that is not written below reads as zeros.
  const uint64_t l1_end = layout.geometry.offset_of(layout.first_l1()) + layout.l1_entries * 8;
  const bool ends_with_l1 = layout.l2_tables + layout.luks_clusters == 0;
  const uint64_t end = ends_with_l1 ? l1_end : layout.geometry.offset_of(layout.end());
  if (file.is_block_device()) {
    CO_TRY_VOID(check_room(file, end));
    CO_TRY_VOID(co_await clear_device(file, layout, align_up(l1_end, uint64_t{512}),
                                      options.preallocation));
  } else {
    CO_TRY_VOID(file.cut_to(0));
    CO_TRY_VOID(file.extend_to(end));
  }
  CO_TRY_VOID(co_await write_exactly(file, 0, header));
  CO_TRY_VOID(co_await write_refcounts(file, layout));
  CO_TRY_VOID(
      co_await write_exactly(file, layout.geometry.offset_of(layout.first_luks()), luks.bytes));
  if (data_file != nullptr) CO_TRY_VOID(co_await clear_data_file(*data_file, options.size_bytes));
  if (options.preallocation == Preallocation::kOff) co_return {};
  CO_TRY_VOID(co_await write_mapping(file, layout));
  if (data_file != nullptr)
    co_return co_await reserve(*data_file, 0, options.size_bytes, options.preallocation);
  co_return co_await reserve(file, layout.geometry.offset_of(layout.first_data()),
                             layout.geometry.offset_of(layout.data_clusters),
                             options.preallocation);
}

}  // namespace hull::blockcore
