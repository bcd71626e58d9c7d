// Compressed clusters: docs/interop/qcow2, "Compressed Clusters Descriptor". zlib means a raw
// deflate stream (RFC 1951) of any window size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "blockcore/qcow2/format/format.h"

struct libdeflate_decompressor;
struct ZSTD_DCtx_s;

namespace hull::blockcore::qcow2 {

// One thread at a time.
class Decompressor {
 public:
  explicit Decompressor(CompressionType type);
  ~Decompressor();
  Decompressor(Decompressor&&) noexcept;
  Decompressor& operator=(Decompressor&&) = delete;

  // Fills `cluster` from the beginning of `stream`; what follows in the stream is ignored. Returns
  // how many bytes of `stream` that takes. kCorrupt if the stream is damaged or gives less.
  Result<size_t> decompress(std::span<const std::byte> stream, std::span<std::byte> cluster);

 private:
  struct FreeInflate {
    void operator()(libdeflate_decompressor* decompressor) const;
  };
  struct FreeZstd {
    void operator()(ZSTD_DCtx_s* context) const;
  };
  std::unique_ptr<libdeflate_decompressor, FreeInflate> inflate_;
  std::unique_ptr<ZSTD_DCtx_s, FreeZstd> zstd_;
};

// The clusters that were decompressed last, so that a guest that reads one in small pieces pays
// once. Keyed by the L2 entry.
class DecompressedClusters {
 public:
  explicit DecompressedClusters(uint64_t cluster_bytes);

  // nullptr if it is not there; valid until the next insert() or clear().
  const std::byte* find(uint64_t entry);
  void insert(uint64_t entry, std::unique_ptr<std::byte[]> cluster);
  void clear() { kept_.clear(); }

 private:
  struct Kept {
    uint64_t entry;
    std::unique_ptr<std::byte[]> bytes;
  };
  const size_t capacity_;
  std::vector<Kept> kept_;  // the oldest first
};

}  // namespace hull::blockcore::qcow2
