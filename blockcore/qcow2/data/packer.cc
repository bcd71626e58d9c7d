#include "blockcore/qcow2/data/packer.h"

#include "base/check.h"
#include "base/checked.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr size_t kMaxPieces = 512;  // of one write

}  // namespace

Task<Result<void>> Packer::write(std::span<const CompressedCluster> clusters) {
  if (clusters.empty()) co_return {};
  if (image_.data_file != nullptr)
    co_return fail(ErrorKind::kUnsupported, "{}: an external data file cannot hold compressed data",
                   image_.file->path());
  if (image_.header->encryption_method != 0)
    co_return fail(ErrorKind::kUnsupported, "{}: an encrypted image cannot hold compressed data",
                   image_.file->path());
  const AsyncMutex::Guard guard = co_await writing_.lock();
  const uint64_t first = clusters.front().offset;
  const uint64_t length = clusters.back().offset - first + 1;
  const GranuleRange range = granules_of_clusters(image_.geometry, first, length);
  while (WaitList* busy = image_.claims.find(range)) co_await busy->wait();
  const RangeLock::Hold claim(image_.claims, range);
  std::vector<Placed> placed;
  placed.reserve(clusters.size());
  auto written = co_await place(clusters, placed);
  if (written) written = co_await fill(placed);
  if (written) written = co_await publish(placed);
  if (!written) co_await give_back(placed);
  co_return std::move(written);
}

Task<Result<void>> Packer::place(std::span<const CompressedCluster> clusters,
                                 std::vector<Placed>& placed) {
  const uint64_t end = compressed_offset_mask(image_.geometry.cluster_bits);
  for (const CompressedCluster& one : clusters) {
    const uint64_t cluster = image_.geometry.cluster_of(one.offset);
    // The table first: if there is no room for it, nothing has to be given back.
    while (!image_.map.is_ready(cluster)) CO_TRY_VOID(co_await image_.map.make_ready(cluster));
    CO_TRY(const uint64_t host, co_await image_.refcounts.allocate_bytes(one.stream.size()));
    placed.push_back({cluster, host, one.stream});
    if (host > end)
      co_return fail(ErrorKind::kNoSpace, "{}: compressed clusters cannot lie at {:#x}",
                     image_.file->path(), host);
  }
  co_return {};
}

// Streams that lie one behind the other go in one write.
Task<Result<void>> Packer::fill(const std::vector<Placed>& placed) {
  std::vector<iovec> buffers;
  for (size_t first = 0; first < placed.size();) {
    const uint64_t offset = placed[first].host_offset;
    uint64_t end = offset;
    buffers.clear();
    size_t next = first;
    while (next < placed.size() && placed[next].host_offset == end && buffers.size() < kMaxPieces) {
      const std::span<const std::byte> stream = placed[next].stream;
      // The kernel only reads from it.
      buffers.push_back({const_cast<std::byte*>(stream.data()), stream.size()});
      end += stream.size();
      ++next;
    }
    CO_TRY_VOID(co_await image_.file->write(offset, buffers));
    first = next;
  }
  co_return {};
}

// Takes out of `placed` what it has published.
Task<Result<void>> Packer::publish(std::vector<Placed>& placed) {
  while (!placed.empty()) {
    const Placed& one = placed.back();
    while (!image_.map.is_ready(one.guest_cluster))
      CO_TRY_VOID(co_await image_.map.make_ready(one.guest_cluster));
    image_.map.set_entry(one.guest_cluster, {.value = entry_value(one), .bitmap = 0});
    placed.pop_back();
  }
  co_return {};
}

uint64_t Packer::entry_value(const Placed& placed) const {
  const uint64_t last_sector = (placed.host_offset + placed.stream.size() - 1) / 512;
  const uint64_t more_sectors = last_sector - placed.host_offset / 512;
  return kCompressedFlag | more_sectors << compressed_offset_bits(image_.geometry.cluster_bits) |
         placed.host_offset;
}

Task<void> Packer::give_back(const std::vector<Placed>& placed) {
  std::vector<HostRun> unused;
  for (const Placed& one : placed) {
    const uint64_t first = image_.geometry.cluster_of(one.host_offset);
    const uint64_t last = image_.geometry.cluster_of(one.host_offset + one.stream.size() - 1);
    unused.push_back({first, last - first + 1});
  }
  (void)co_await image_.refcounts.release(std::move(unused), false);
}

}  // namespace hull::blockcore::qcow2
