#include "blockcore/qcow2/compressor.h"

#include <libdeflate.h>
#include <zstd.h>

#include "base/check.h"

namespace hull::blockcore::qcow2 {
namespace {

// Deflate: the fastest level whose images are not larger than those of qemu-img. Zstandard: within
// two percent of them.
constexpr int kDeflateLevel = 2;
constexpr int kZstdLevel = 2;

}  // namespace

void Compressor::FreeDeflate::operator()(libdeflate_compressor* compressor) const {
  libdeflate_free_compressor(compressor);
}
void Compressor::FreeZstd::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }

Compressor::Compressor(CompressionType type) {
  if (type == CompressionType::kZstd) {
    zstd_.reset(ZSTD_createCCtx());
    CHECK(zstd_ != nullptr);
  } else {
    deflate_.reset(libdeflate_alloc_compressor(kDeflateLevel));
    CHECK(deflate_ != nullptr);
  }
}

Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;

size_t Compressor::compress(std::span<const std::byte> cluster, std::span<std::byte> out) {
  if (deflate_ != nullptr)
    return libdeflate_deflate_compress(deflate_.get(), cluster.data(), cluster.size(), out.data(),
                                       out.size());
  const size_t length = ZSTD_compressCCtx(zstd_.get(), out.data(), out.size(), cluster.data(),
                                          cluster.size(), kZstdLevel);
  return ZSTD_isError(length) != 0 ? 0 : length;
}

}  // namespace hull::blockcore::qcow2
