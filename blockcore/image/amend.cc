#include "blockcore/image/amend.h"

#include "blockcore/backing_name.h"
#include "blockcore/image/backing_chain.h"
#include "blockcore/image/chain_files.h"
#include "blockcore/image/single_image.h"
#include "blockcore/qcow2/check/rebuild.h"
#include "blockcore/qcow2/check/references.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "blockcore/qcow2/mapping/l2_stream.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore {
namespace {

using namespace qcow2;

constexpr uint32_t kVersion2RefcountOrder = 4;

Result<void> check_options(const AmendOptions& options, const Header& header) {
  const uint32_t version = options.version.value_or(header.version);
  const uint32_t order = options.refcount_order.value_or(header.geometry.refcount_order);
  if (options.data_file && !header.has_data_file())
    return fail(ErrorKind::kUsage,
                "data-file can only be set for images that use an external data file");
  if (options.data_file_raw.value_or(false) && !header.data_file_is_raw())
    return fail(ErrorKind::kUsage, "data-file-raw cannot be set on existing images");
  if (version >= 3) return {};
  if (header.has_data_file())
    return fail(ErrorKind::kUnsupported, "Cannot downgrade an image with a data file");
  if (options.lazy_refcounts.value_or(false))
    return fail(ErrorKind::kUsage,
                "Lazy refcounts only supported with compatibility level 1.1 and above (use "
                "compat=1.1 or greater)");
  if (order != kVersion2RefcountOrder)
    return fail(ErrorKind::kUsage, "compat=0.10 requires refcount_bits=16");
  if ((header.incompatible & ~kIncompatibleDirty) != 0)
    return fail(ErrorKind::kUnsupported,
                "Cannot downgrade an image with incompatible features set");
  if (header.find_extension(kExtensionBitmaps) != nullptr)
    return fail(ErrorKind::kUnsupported, "Cannot downgrade an image with bitmaps");
  return {};
}

Task<Result<void>> refuse_zero_clusters(File& file, const Header& header, uint64_t l1_offset,
                                        uint64_t l1_entries) {
  CO_TRY(const std::vector<uint64_t> l1, co_await read_table(file, l1_offset, l1_entries));
  L2Stream stream(file, header.geometry, l1);
  for (;;) {
    CO_TRY(const std::span<L2Stream::Table> tables, co_await stream.next());
    if (tables.empty()) co_return {};
    for (const L2Stream::Table& table : tables)
      // The zero flag is the lowest bit of a big-endian entry that is not compressed.
      for (uint64_t at = 0; at < header.geometry.cluster_bytes(); at += 8)
        if ((table.bytes[at + 7] & std::byte{1}) != std::byte{0} &&
            (table.bytes[at] & std::byte{0x40}) == std::byte{0})
          co_return fail(ErrorKind::kUnsupported,
                         "Cannot downgrade an image with zero clusters: convert it to a new one");
  }
}

// Version 2 has no zero clusters, and snapshots of the whole disk alone.
Task<Result<void>> check_contents(Parts& parts) {
  File& file = *parts.image.file;
  const Header& header = *parts.image.header;
  CO_TRY_VOID(co_await refuse_zero_clusters(file, header, header.l1_offset, header.l1_entries));
  CO_TRY(const std::vector<Snapshot> snapshots, co_await list_snapshots(parts));
  for (const Snapshot& snapshot : snapshots) {
    if (snapshot.vm_state_bytes != 0 || snapshot.disk_bytes != header.size_bytes)
      co_return fail(ErrorKind::kUnsupported, "Internal snapshots prevent downgrade of image");
    CO_TRY_VOID(
        co_await refuse_zero_clusters(file, header, snapshot.l1_offset, snapshot.l1_entries));
  }
  co_return {};
}

Header with_version(const Header& header, uint32_t version) {
  Header changed = header;
  changed.version = version;
  if (version >= 3) return changed;
  changed.incompatible = 0;
  changed.compatible = 0;
  changed.autoclear = 0;
  changed.unknown_fields.clear();
  std::erase_if(changed.extensions, [](const HeaderExtension& extension) {
    return extension.type == kExtensionFeatureNames;
  });
  return changed;
}

Header with_features(const Header& header, const AmendOptions& options) {
  Header changed = header;
  if (options.lazy_refcounts)
    changed.compatible = *options.lazy_refcounts ? changed.compatible | kCompatibleLazyRefcounts
                                                 : changed.compatible & ~kCompatibleLazyRefcounts;
  if (options.data_file) changed.set_data_file_name(*options.data_file);
  if (!options.data_file_raw.value_or(true)) changed.autoclear &= ~kAutoclearRawData;
  return changed;
}

}  // namespace

Task<Result<void>> amend_qcow2(Qcow2Disk& disk, AmendOptions options) {
  Parts& parts = disk.parts();
  File& file = *parts.image.file;
  ImageHeader& header = parts.image.header;
  const uint32_t version = options.version.value_or(header->version);
  CO_TRY_VOID(check_options(options, *header));
  if (version < header->version) CO_TRY_VOID(co_await check_contents(parts));
  // Old snapshots say less than version 3 demands.
  if (version > header->version) CO_TRY_VOID(co_await complete_snapshots(file, header));
  if (version > header->version)
    CO_TRY_VOID(co_await header.update(file, with_version(*header, version)));
  if (options.refcount_order && *options.refcount_order != header->geometry.refcount_order)
    CO_TRY_VOID(co_await change_refcount_width(file, header, *options.refcount_order));
  if (options.lazy_refcounts || options.data_file || options.data_file_raw)
    CO_TRY_VOID(co_await header.update(file, with_features(*header, options)));
  if (version < header->version)
    CO_TRY_VOID(co_await header.update(file, with_version(*header, version)));
  co_return {};
}

Task<Result<void>> amend_image(IoEngine& engine, AmendOptions options) {
  SingleImageOptions single{.path = options.path, .format = options.format, .cache = options.cache};
  CO_TRY(const std::unique_ptr<Qcow2Disk> disk,
         co_await open_single_qcow2(engine, std::move(single)));
  const std::string path = options.path;
  if (options.data_file && !options.data_file->empty()) {
    // Writing to the disk must not write to the image, or to what it reads.
    CO_TRY(const std::string data, resolve_data_file_name(path, *options.data_file));
    CO_TRY(const std::optional<BackingLevel> below, backing_level(*disk));
    std::vector<ChainFile> files;
    if (below) files = co_await chain_files(engine, below->path, below->format);
    if (const auto own = identity_of(path)) files.push_back({path, *own});
    CO_TRY_VOID(check_apart(data, files));
  }
  // The disk is not used, so that there is nothing to write when it goes.
  co_return (co_await amend_qcow2(*disk, std::move(options))).with_context(path);
}

}  // namespace hull::blockcore
