#include "blockcore/qcow2/compressed.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>

#include "base/check.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr uint64_t kKeptBytes = 256 << 10;

std::unexpected<Error> damaged() {
  return fail(ErrorKind::kCorrupt, "a compressed cluster is damaged");
}

Result<void> inflate_cluster(std::span<const std::byte> stream, std::span<std::byte> cluster) {
  z_stream inflater{};
  inflater.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(stream.data()));
  inflater.avail_in = static_cast<uInt>(stream.size());
  inflater.next_out = reinterpret_cast<Bytef*>(cluster.data());
  inflater.avail_out = static_cast<uInt>(cluster.size());
  CHECK(inflateInit2(&inflater, -15) == Z_OK);  // raw deflate, largest window
  const int status = inflate(&inflater, Z_FINISH);
  inflateEnd(&inflater);
  // Z_BUF_ERROR: the cluster is full although the stream goes on.
  if ((status != Z_STREAM_END && status != Z_BUF_ERROR) || inflater.avail_out != 0)
    return damaged();
  return {};
}

Result<void> unzstd_cluster(std::span<const std::byte> stream, std::span<std::byte> cluster) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(),
                                                                     ZSTD_freeDCtx);
  CHECK(context != nullptr);
  ZSTD_inBuffer in{stream.data(), stream.size(), 0};
  ZSTD_outBuffer out{cluster.data(), cluster.size(), 0};
  while (out.pos < out.size) {
    const size_t in_before = in.pos;
    const size_t out_before = out.pos;
    const size_t status = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(status) != 0) return damaged();
    if (in.pos == in_before && out.pos == out_before) return damaged();
  }
  return {};
}

}  // namespace

Result<void> decompress(CompressionType type, std::span<const std::byte> stream,
                        std::span<std::byte> cluster) {
  return type == CompressionType::kZstd ? unzstd_cluster(stream, cluster)
                                        : inflate_cluster(stream, cluster);
}

DecompressedClusters::DecompressedClusters(uint64_t cluster_bytes)
    : capacity_(std::max<uint64_t>(1, kKeptBytes / cluster_bytes)) {}

const std::byte* DecompressedClusters::find(uint64_t entry) {
  const auto found = std::ranges::find(kept_, entry, &Kept::entry);
  return found == kept_.end() ? nullptr : found->bytes.get();
}

void DecompressedClusters::insert(uint64_t entry, std::unique_ptr<std::byte[]> cluster) {
  if (find(entry) != nullptr) return;
  if (kept_.size() == capacity_) kept_.erase(kept_.begin());
  kept_.push_back({entry, std::move(cluster)});
}

}  // namespace hull::blockcore::qcow2
