#include "blockcore/image/measure.h"

#include <vector>

#include "base/checked.h"
#include "blockcore/qcow2/format/bitmap_directory.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore {
namespace {

using qcow2::Geometry;

Geometry geometry_of(const CreateImageOptions& options) {
  return {.cluster_bits = options.qcow2.cluster_bits,
          .refcount_order = options.qcow2.refcount_order,
          .extended_l2 = options.qcow2.extended_l2};
}

// Refcount table and blocks for so many clusters and for themselves.
uint64_t refcount_clusters(const Geometry& geometry, uint64_t clusters) {
  uint64_t own = 0;
  for (;;) {
    const uint64_t blocks = divide_up(clusters + own, geometry.refcounts_per_block());
    const uint64_t tables = geometry.clusters_for(blocks * sizeof(uint64_t));
    if (blocks + tables == own) return own;
    own = blocks + tables;
  }
}

Result<ImageMeasure> measure_qcow2(const CreateImageOptions& options, uint64_t size_bytes,
                                   uint64_t data_bytes) {
  const Geometry geometry = geometry_of(options);
  if (size_bytes > qcow2::kMaxGuestBytes ||
      geometry.l1_entries_for(size_bytes) * sizeof(uint64_t) > qcow2::kMaxL1Bytes)
    return fail(ErrorKind::kOutOfRange,
                "The image size is too large (try using a larger cluster size)");
  const uint64_t clusters = geometry.clusters_for(size_bytes);
  const uint64_t l2_tables = divide_up(clusters, geometry.l2_entries());
  const uint64_t l1_clusters = geometry.clusters_for(l2_tables * sizeof(uint64_t));
  const uint64_t luks =
      options.qcow2.encryption ? crypto::luks_area_bytes(options.qcow2.encryption->luks) : 0;
  const uint64_t mapping = 1 + l1_clusters + l2_tables + geometry.clusters_for(luks);
  const uint64_t metadata = mapping + refcount_clusters(geometry, mapping + clusters);
  const bool reserves = options.qcow2.preallocation == Preallocation::kFalloc ||
                        options.qcow2.preallocation == Preallocation::kFull;
  const uint64_t data = reserves ? geometry.offset_of(clusters) : data_bytes;
  return ImageMeasure{
      .required_bytes = geometry.offset_of(metadata) + data,
      .fully_allocated_bytes = geometry.offset_of(metadata + clusters),
  };
}

// Bytes of the clusters that would be written.
Task<Result<uint64_t>> count_data(Disk& source, uint64_t cluster_bytes) {
  const uint64_t size = source.size_bytes();
  uint64_t bytes = 0;
  for (uint64_t offset = 0; offset < size;) {
    CO_TRY(const BlockStatus status, co_await source.block_status(offset, size - offset));
    uint64_t end = offset + status.length;
    if (!status.zero && status.data) {
      end = align_up(end, cluster_bytes);
      bytes += end - align_down(offset, cluster_bytes);
    }
    offset = end;
  }
  co_return bytes;
}

// What copies of the source's bitmaps take at most: data, tables and the directory.
Task<Result<uint64_t>> measure_bitmaps(Qcow2Disk& source, const Geometry& geometry) {
  CO_TRY(const qcow2::BitmapDirectory directory,
         co_await qcow2::read_bitmap_directory(*source.parts().image.file, source.header()));
  uint64_t bytes = 0;
  std::vector<qcow2::Bitmap> entries;
  for (const qcow2::Bitmap& bitmap : directory.bitmaps) {
    const uint64_t clusters =
        geometry.clusters_for(qcow2::bitmap_bytes(source.size_bytes(), bitmap.granularity_bits));
    bytes += geometry.offset_of(clusters + geometry.clusters_for(clusters * sizeof(uint64_t)));
    entries.push_back({.name = bitmap.name});
  }
  CO_TRY(const std::vector<std::byte> encoded, qcow2::encode_bitmap_directory(entries));
  co_return bytes + geometry.offset_of(geometry.clusters_for(encoded.size()));
}

}  // namespace

Result<ImageMeasure> measure_image(const CreateImageOptions& options, uint64_t size_bytes) {
  if (options.format == DiskFormat::kQcow2) return measure_qcow2(options, size_bytes, 0);
  const uint64_t whole = align_up(size_bytes, uint64_t{512});
  return ImageMeasure{.required_bytes = whole, .fully_allocated_bytes = whole};
}

Task<Result<ImageMeasure>> measure_copy(CreateImageOptions options, Disk& source,
                                        Qcow2Disk* qcow2) {
  if (options.format == DiskFormat::kRaw) co_return measure_image(options, source.size_bytes());
  const Geometry geometry = geometry_of(options);
  // How much of the chain is shared with the backing file is not known.
  uint64_t data = align_up(source.size_bytes(), geometry.cluster_bytes());
  if (options.qcow2.backing_name.empty()) {
    CO_TRY(data, co_await count_data(source, geometry.cluster_bytes()));
  }
  CO_TRY(ImageMeasure measure, measure_qcow2(options, source.size_bytes(), data));
  if (qcow2 != nullptr && qcow2->header().version >= 3 && options.qcow2.version >= 3) {
    CO_TRY(measure.bitmap_bytes, co_await measure_bitmaps(*qcow2, geometry));
  }
  co_return measure;
}

}  // namespace hull::blockcore
