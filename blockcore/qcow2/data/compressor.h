// Makes the streams of compressed clusters (compressed.h reads them): docs/interop/qcow2,
// "Compressed Clusters Descriptor".
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "blockcore/qcow2/format/format.h"

struct libdeflate_compressor;
struct ZSTD_CCtx_s;

namespace hull::blockcore::qcow2 {

// A cluster and its stream, as Qcow2Disk::write_compressed() takes them.
struct CompressedCluster {
  uint64_t offset;  // guest: of the cluster's first byte
  std::span<const std::byte> stream;
};

// One thread at a time; makes the same stream of the same bytes every time.
class Compressor {
 public:
  explicit Compressor(CompressionType type);
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) = delete;

  // Two levels: one is quick, the other makes smaller streams. By turns they are as fast as can be
  // for images no larger than those of others.
  enum class Effort : uint8_t { kQuick, kSmall };
  static Effort effort_for(uint64_t cluster) {
    return cluster % 2 == 0 ? Effort::kSmall : Effort::kQuick;
  }

  // The length of the stream in `out`; 0 if it would be longer than `out`, which a cluster that
  // does not get smaller by compression is.
  size_t compress(std::span<const std::byte> cluster, std::span<std::byte> out,
                  Effort effort = Effort::kSmall);

 private:
  struct FreeDeflate {
    void operator()(libdeflate_compressor* compressor) const;
  };
  struct FreeZstd {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  std::unique_ptr<libdeflate_compressor, FreeDeflate> deflate_;
  std::unique_ptr<libdeflate_compressor, FreeDeflate> quick_deflate_;
  std::unique_ptr<ZSTD_CCtx_s, FreeZstd> zstd_;
};

}  // namespace hull::blockcore::qcow2
