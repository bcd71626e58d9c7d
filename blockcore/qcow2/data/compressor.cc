#include "blockcore/qcow2/data/compressor.h"

#include <libdeflate.h>
#include <zstd.h>

#include "base/check.h"

namespace hull::blockcore::qcow2 {
namespace {

// Deflate: by turns these make images of binaries half a percent smaller than those of qemu-img
// (the lower alone one percent larger), in three quarters of the time of the higher alone.
// Zstandard: within four percent.
constexpr int kQuickLevel = 1;
constexpr int kSmallLevel = 2;

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
    deflate_.reset(libdeflate_alloc_compressor(kSmallLevel));
    quick_deflate_.reset(libdeflate_alloc_compressor(kQuickLevel));
    CHECK(deflate_ != nullptr && quick_deflate_ != nullptr);
  }
}

Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;

size_t Compressor::compress(std::span<const std::byte> cluster, std::span<std::byte> out,
                            Effort effort) {
  const bool quick = effort == Effort::kQuick;
  if (deflate_ != nullptr)
    return libdeflate_deflate_compress(quick ? quick_deflate_.get() : deflate_.get(),
                                       cluster.data(), cluster.size(), out.data(), out.size());
  const size_t length = ZSTD_compressCCtx(zstd_.get(), out.data(), out.size(), cluster.data(),
                                          cluster.size(), quick ? kQuickLevel : kSmallLevel);
  return ZSTD_isError(length) != 0 ? 0 : length;
}

}  // namespace hull::blockcore::qcow2
