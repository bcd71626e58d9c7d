// Reads guest data wherever it is: host clusters, compressed clusters, zeros, the backing disk.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "blockcore/qcow2/data/compressed_reader.h"
#include "blockcore/qcow2/image.h"

namespace hull::blockcore::qcow2 {

class Reader {
 public:
  explicit Reader(Image& image) : image_(image), compressed_(image) {}

  // Inside the disk (Disk::read).
  Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers);
  // The rest of a cluster that is being copied; what lies past the end of the disk is zeros.
  Task<Result<void>> read_for_copy(uint64_t offset, std::span<std::byte> data);

  // Compressed clusters were freed: their places may hold something else soon.
  void forget_compressed() { compressed_.forget(); }
  // CompressedReader::load().
  Task<Result<CompressedBatch>> load_compressed(uint64_t offset, uint64_t length) {
    return compressed_.load(offset, length);
  }

  // Pieces of one request in flight at a time, where it is spread over the file.
  static constexpr size_t kMaxPieces = 32;

 private:
  uint64_t start_pieces(uint64_t offset, std::span<const iovec> buffers, uint64_t done,
                        std::vector<Task<Result<void>>>& pieces);
  Task<Result<void>> read_piece(uint64_t offset, Extent extent, std::span<const iovec> buffers,
                                uint64_t done);
  Task<Result<void>> read_extent(uint64_t offset, const Extent& extent,
                                 std::span<const iovec> buffers);
  Task<Result<void>> read_data(uint64_t offset, uint64_t host_offset,
                               std::span<const iovec> buffers);
  Task<Result<void>> read_backing(uint64_t offset, std::span<const iovec> buffers);

  Image& image_;
  CompressedReader compressed_;
};

}  // namespace hull::blockcore::qcow2
