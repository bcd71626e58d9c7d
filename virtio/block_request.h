// What one buffer of a virtio block device asks for (virtio 1.2, 5.2.6): parsing is pure and holds
// every check, so that what comes after it can trust the numbers.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/guest_memory.h"
#include "base/result.h"
#include "virtio/chain.h"

namespace hull::virtio {

inline constexpr uint64_t kSectorBytes = 512;
inline constexpr size_t kBlockIdBytes = 20;
// Of a read or write; more is an I/O error. And of what is zeroed or discarded before the device
// looks whether it has to stop. The configuration keeps polite drivers below it.
inline constexpr uint64_t kMaxTransferBytes = 32 << 20;

enum class BlockStatus : uint8_t { kOk = 0, kIoError = 1, kUnsupported = 2 };

enum class BlockOperation : uint8_t {
  kNothing,  // `status` is the answer already
  kRead,
  kWrite,
  kFlush,
  kGetId,
  kDiscard,
  kWriteZeroes,
};

// What a request may do; from the disk, the configuration and the negotiated features.
struct BlockLimits {
  uint64_t capacity_sectors = 0;
  bool read_only = false;
  bool discard = false;
  bool write_zeroes = false;
  uint32_t max_range_sectors = 0;  // of one range of DISCARD and WRITE_ZEROES
  uint32_t max_ranges = 0;
};

// Kept from request to request, so that the vectors' memory is used again.
struct BlockRequest {
  struct Range {
    uint64_t offset;  // bytes
    uint64_t length;  // bytes
    bool may_unmap;
  };

  // Fills everything from `chain`; any earlier content is forgotten.
  void parse(const Chain& chain, const BlockLimits& limits);
  // How much of the device's time it takes, in bytes moved before it can be ended.
  uint64_t work_bytes() const { return std::min(length, kMaxTransferBytes); }
  // The bytes that the driver is told were written if the request ends with `result`.
  uint32_t written_bytes(BlockStatus result) const;

  BlockOperation operation = BlockOperation::kNothing;
  BlockStatus status = BlockStatus::kOk;   // kNothing: the answer
  uint64_t offset = 0;                     // kRead, kWrite: bytes; inside the capacity
  uint64_t length = 0;                     // bytes; kGetId: room for the id; of all ranges
  std::vector<iovec> buffers;              // kRead, kWrite: `length` bytes
  std::vector<Range> ranges;               // kDiscard, kWriteZeroes: none is empty
  std::optional<ChainWriter> id_target;    // kGetId
  std::optional<ChainWriter> status_byte;  // absent: there is nowhere to put an answer

 private:
  BlockStatus parse_operation(ChainReader reader, ChainWriter writer, const BlockLimits& limits);
  BlockStatus parse_transfer(SegmentCursor& data, uint64_t sector, const BlockLimits& limits);
  BlockStatus parse_ranges(ChainReader reader, const BlockLimits& limits);
};

// The one place where a result becomes a status byte.
BlockStatus block_status(const Result<void>& result);

}  // namespace hull::virtio
