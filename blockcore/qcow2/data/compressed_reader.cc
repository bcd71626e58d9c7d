#include "blockcore/qcow2/data/compressed_reader.h"

#include <algorithm>

#include "base/checked.h"
#include "blockcore/engine/iovecs.h"
#include "blockcore/engine/worker_pool.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr uint64_t kBatchBytes = 512 << 10;  // of the guest; one cluster at least

// Bytes of the file that are read at once.
struct Row {
  uint64_t first;
  uint64_t end;
  uint64_t at;  // in the buffer
};

}  // namespace

std::string CompressedReader::place_name(uint64_t offset) const {
  return fmt::format("{}: guest offset {:#x}", image_.file->path(), offset);
}

Decompressor& CompressedReader::decompressor(size_t index) {
  const size_t threads = image_.workers == nullptr ? 0 : image_.workers->threads();
  while (decompressors_.size() <= threads) decompressors_.emplace_back(image_.header->compression);
  return decompressors_[std::min(index, threads)];
}

Result<CompressedExtent> CompressedReader::place_of(uint64_t offset, L2Entry entry) const {
  const CompressedExtent extent = compressed_extent(entry, image_.geometry.cluster_bits);
  if (extent.host_offset < kMaxHostBytes) return extent;
  return fail(ErrorKind::kCorrupt, "{}: the L2 entry of guest offset {:#x} is {:#x}",
              image_.file->path(), offset, entry.value);
}

Task<Result<uint64_t>> CompressedReader::read(uint64_t offset, const Extent& extent,
                                              std::span<const iovec> buffers) {
  if (image_.workers != nullptr && extent.length == image_.geometry.cluster_bytes())
    co_return co_await read_many(offset, buffers);
  const IovecPart part(buffers, 0, extent.length);
  CO_TRY_VOID(co_await read_one(offset, extent.entry, part.buffers()));
  co_return extent.length;
}

Task<Result<void>> CompressedReader::read_one(uint64_t offset, L2Entry entry,
                                              std::span<const iovec> buffers) {
  const Geometry& geometry = image_.geometry;
  const uint64_t in_cluster = geometry.offset_in_cluster(offset);
  const uint64_t length = total_bytes(buffers);
  const std::byte* bytes = decompressed_.find(entry.value);
  if (bytes == nullptr) {
    CO_TRY(const CompressedExtent extent, place_of(offset, entry));
    auto stream = std::make_unique_for_overwrite<std::byte[]>(extent.bytes);
    {
      const InUse::Hold hold(image_.in_use);
      const iovec buffer{stream.get(), extent.bytes};
      CO_TRY_VOID(co_await image_.file->read_or_zero(extent.host_offset, {&buffer, 1}));
    }
    auto cluster = std::make_unique_for_overwrite<std::byte[]>(geometry.cluster_bytes());
    const auto taken =
        decompressor(~size_t{0})
            .decompress({stream.get(), extent.bytes}, {cluster.get(), geometry.cluster_bytes()});
    if (!taken)
      co_return Result<void>(std::unexpected(taken.error())).with_context(place_name(offset));
    copy_to_iovecs(buffers, 0, {cluster.get() + in_cluster, length});
    decompressed_.insert(entry.value, std::move(cluster));
    co_return {};
  }
  copy_to_iovecs(buffers, 0, {bytes + in_cluster, length});
  co_return {};
}

Task<Result<uint64_t>> CompressedReader::read_many(uint64_t offset,
                                                   std::span<const iovec> buffers) {
  const uint64_t cluster_bytes = image_.geometry.cluster_bytes();
  const uint64_t most = std::max(kBatchBytes, cluster_bytes);
  CO_TRY(const CompressedBatch batch, co_await load(offset, std::min(most, total_bytes(buffers))));
  (void)decompressor(0);  // all of them are made on this thread
  Result<void> unpacked;
  co_await image_.workers->run([this, &batch, &unpacked, buffers](unsigned worker) {
    unpacked = unpack(batch, decompressors_[worker], buffers);
  });
  if (!unpacked) co_return std::unexpected(std::move(unpacked).error());
  co_return batch.clusters.size() * cluster_bytes;
}

// On a thread of the pool.
Result<void> CompressedReader::unpack(const CompressedBatch& batch, Decompressor& decompressor,
                                      std::span<const iovec> buffers) const {
  const uint64_t cluster_bytes = image_.geometry.cluster_bytes();
  const bool in_place = buffers.size() == 1;
  const auto scratch =
      in_place ? nullptr : std::make_unique_for_overwrite<std::byte[]>(cluster_bytes);
  uint64_t done = 0;
  for (const CompressedBatch::Cluster& one : batch.clusters) {
    std::byte* const to =
        in_place ? static_cast<std::byte*>(buffers[0].iov_base) + done : scratch.get();
    const auto taken = decompressor.decompress(batch.stream(one), {to, cluster_bytes});
    if (!taken)
      return Result<void>(std::unexpected(taken.error())).with_context(place_name(one.offset));
    if (!in_place) copy_to_iovecs(buffers, done, {to, cluster_bytes});
    done += cluster_bytes;
  }
  return {};
}

Task<Result<CompressedBatch>> CompressedReader::load(uint64_t offset, uint64_t length) {
  const uint64_t cluster_bytes = image_.geometry.cluster_bytes();
  CompressedBatch batch;
  std::vector<Row> rows;
  for (const uint64_t end = offset + length; end - offset >= cluster_bytes;
       offset += cluster_bytes) {
    const std::optional<Extent> extent = image_.map.find(offset, cluster_bytes);
    if (!extent || extent->kind != ClusterKind::kCompressed) break;
    CO_TRY(const CompressedExtent place, place_of(offset, extent->entry));
    const uint64_t first = place.host_offset;
    // Streams mostly lie one behind the other, the next in the last sector of the one before.
    if (rows.empty() || first < rows.back().first || first > rows.back().end)
      rows.push_back(
          {first, first, rows.empty() ? 0 : rows.back().at + rows.back().end - rows.back().first});
    Row& row = rows.back();
    row.end = std::max(row.end, first + place.bytes);
    batch.clusters.push_back({offset, row.at + first - row.first, place.bytes});
  }
  if (rows.empty()) co_return batch;
  const InUse::Hold hold(image_.in_use);
  batch.bytes = std::make_unique_for_overwrite<std::byte[]>(rows.back().at + rows.back().end -
                                                            rows.back().first);
  for (const Row& row : rows) {
    const iovec buffer{batch.bytes.get() + row.at, row.end - row.first};
    CO_TRY_VOID(co_await image_.file->read_or_zero(row.first, {&buffer, 1}));
  }
  co_return batch;
}

}  // namespace hull::blockcore::qcow2
