#include "blockcore/qcow2/data/compressed.h"

#include <libdeflate.h>
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

// Streams that go on behind the cluster's end, which libdeflate refuses.
Result<size_t> inflate_part(std::span<const std::byte> stream, std::span<std::byte> cluster) {
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
  return stream.size();
}

Result<size_t> unzstd_part(ZSTD_DCtx* context, std::span<const std::byte> stream,
                           std::span<std::byte> cluster) {
  ZSTD_inBuffer in{stream.data(), stream.size(), 0};
  ZSTD_outBuffer out{cluster.data(), cluster.size(), 0};
  ZSTD_DCtx_reset(context, ZSTD_reset_session_only);
  while (out.pos < out.size) {
    const size_t in_before = in.pos;
    const size_t out_before = out.pos;
    const size_t status = ZSTD_decompressStream(context, &out, &in);
    if (ZSTD_isError(status) != 0) return damaged();
    if (in.pos == in_before && out.pos == out_before) return damaged();
  }
  return stream.size();
}

}  // namespace

void Decompressor::FreeInflate::operator()(libdeflate_decompressor* decompressor) const {
  libdeflate_free_decompressor(decompressor);
}
void Decompressor::FreeZstd::operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }

Decompressor::Decompressor(CompressionType type) {
  if (type == CompressionType::kZstd) {
    zstd_.reset(ZSTD_createDCtx());
    CHECK(zstd_ != nullptr);
  } else {
    inflate_.reset(libdeflate_alloc_decompressor());
    CHECK(inflate_ != nullptr);
  }
}

Decompressor::~Decompressor() = default;
Decompressor::Decompressor(Decompressor&&) noexcept = default;

Result<size_t> Decompressor::decompress(std::span<const std::byte> stream,
                                        std::span<std::byte> cluster) {
  if (zstd_ != nullptr) {
    // One frame that is the cluster, at once; what other writers may have made, piece by piece.
    const size_t frame = ZSTD_findFrameCompressedSize(stream.data(), stream.size());
    if (ZSTD_isError(frame) == 0 && ZSTD_decompressDCtx(zstd_.get(), cluster.data(), cluster.size(),
                                                        stream.data(), frame) == cluster.size())
      return frame;
    return unzstd_part(zstd_.get(), stream, cluster);
  }
  size_t taken = 0;
  size_t given = 0;
  const libdeflate_result status = libdeflate_deflate_decompress_ex(
      inflate_.get(), stream.data(), stream.size(), cluster.data(), cluster.size(), &taken, &given);
  if (status == LIBDEFLATE_SUCCESS && given == cluster.size()) return taken;
  return inflate_part(stream, cluster);
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
