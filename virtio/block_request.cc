#include "virtio/block_request.h"

#include "base/checked.h"
#include "base/endian.h"

namespace hull::virtio {

namespace {

// Virtio 1.2, 5.2.6.
struct RequestHeader {
  Le32 type;      // 0x0
  Le32 reserved;  // 0x4
  Le64 sector;    // 0x8
};
static_assert(sizeof(RequestHeader) == 16);

struct RangeOnWire {
  Le64 sector;   // 0x0
  Le32 sectors;  // 0x8
  Le32 flags;    // 0xc
};
static_assert(sizeof(RangeOnWire) == 16);

constexpr uint32_t kTypeIn = 0;
constexpr uint32_t kTypeOut = 1;
constexpr uint32_t kTypeFlush = 4;
constexpr uint32_t kTypeGetId = 8;
constexpr uint32_t kTypeDiscard = 11;
constexpr uint32_t kTypeWriteZeroes = 13;

constexpr uint32_t kRangeUnmap = 1;

BlockOperation operation_of(uint32_t type, const BlockLimits& limits) {
  switch (type) {
    case kTypeIn: return BlockOperation::kRead;
    case kTypeOut: return BlockOperation::kWrite;
    case kTypeFlush: return BlockOperation::kFlush;
    case kTypeGetId: return BlockOperation::kGetId;
    case kTypeDiscard: return limits.discard ? BlockOperation::kDiscard : BlockOperation::kNothing;
    case kTypeWriteZeroes:
      return limits.write_zeroes ? BlockOperation::kWriteZeroes : BlockOperation::kNothing;
    default: return BlockOperation::kNothing;
  }
}

bool changes_disk(BlockOperation operation) {
  return operation == BlockOperation::kWrite || operation == BlockOperation::kDiscard ||
         operation == BlockOperation::kWriteZeroes;
}

}  // namespace

void BlockRequest::parse(const Chain& chain, const BlockLimits& limits) {
  status_byte.reset();
  id_target.reset();
  buffers.clear();
  ranges.clear();
  offset = 0;
  length = 0;
  ChainWriter writer(chain);
  status = BlockStatus::kIoError;
  if (writer.remaining() != 0) {
    // The status is the last byte that we may write, wherever descriptors end (2.7.4).
    status_byte = writer.split_tail(1);
    status = parse_operation(ChainReader(chain), writer, limits);
  }
  if (status != BlockStatus::kOk) operation = BlockOperation::kNothing;
}

BlockStatus BlockRequest::parse_operation(ChainReader reader, ChainWriter writer,
                                          const BlockLimits& limits) {
  const auto header = reader.read_value<RequestHeader>();
  if (!header) return BlockStatus::kIoError;
  operation = operation_of(header->type, limits);
  // 5.2.6.2; a property of the disk, whether or not the driver took VIRTIO_BLK_F_RO.
  if (limits.read_only && changes_disk(operation)) return BlockStatus::kIoError;
  switch (operation) {
    case BlockOperation::kRead: return parse_transfer(writer, header->sector, limits);
    case BlockOperation::kWrite: return parse_transfer(reader, header->sector, limits);
    case BlockOperation::kFlush: return BlockStatus::kOk;
    case BlockOperation::kGetId:
      length = std::min(writer.remaining(), kBlockIdBytes);
      id_target = writer;
      return BlockStatus::kOk;
    case BlockOperation::kDiscard:
    case BlockOperation::kWriteZeroes: return parse_ranges(reader, limits);
    case BlockOperation::kNothing: break;
  }
  return BlockStatus::kUnsupported;
}

BlockStatus BlockRequest::parse_transfer(SegmentCursor& data, uint64_t sector,
                                         const BlockLimits& limits) {
  length = data.remaining();
  if (length % kSectorBytes != 0 || length > kMaxTransferBytes ||
      !range_fits(sector, length / kSectorBytes, limits.capacity_sectors))
    return BlockStatus::kIoError;
  offset = sector * kSectorBytes;  // inside the capacity: no overflow
  data.take_iovecs(length, buffers);
  if (length == 0) operation = BlockOperation::kNothing;
  return BlockStatus::kOk;
}

BlockStatus BlockRequest::parse_ranges(ChainReader reader, const BlockLimits& limits) {
  const size_t count = reader.remaining() / sizeof(RangeOnWire);
  if (count == 0 || count > limits.max_ranges || reader.remaining() % sizeof(RangeOnWire) != 0)
    return BlockStatus::kIoError;
  const uint32_t known_flags = operation == BlockOperation::kWriteZeroes ? kRangeUnmap : 0;
  for (size_t i = 0; i < count; ++i) {
    const auto range = reader.read_value<RangeOnWire>();
    CHECK(range.has_value());
    // 5.2.6.2: an unknown flag, or `unmap` in a discard, is unsupported.
    if ((range->flags & ~known_flags) != 0) return BlockStatus::kUnsupported;
    const uint64_t sectors = range->sectors;
    if (sectors > limits.max_range_sectors ||
        !range_fits<uint64_t>(range->sector, sectors, limits.capacity_sectors))
      return BlockStatus::kIoError;
    if (sectors == 0) continue;
    length += sectors * kSectorBytes;
    ranges.push_back({.offset = range->sector * kSectorBytes,
                      .length = sectors * kSectorBytes,
                      .may_unmap = (range->flags & kRangeUnmap) != 0});
  }
  return BlockStatus::kOk;
}

uint32_t BlockRequest::written_bytes(BlockStatus result) const {
  if (!status_byte) return 0;
  const bool fills = operation == BlockOperation::kRead || operation == BlockOperation::kGetId;
  // With the status byte at most 2^32 - 1, which Queue::pop() has checked.
  return fills && result == BlockStatus::kOk ? static_cast<uint32_t>(length + 1) : 1;
}

BlockStatus block_status(const Result<void>& result) {
  if (result) return BlockStatus::kOk;
  return result.error().kind() == ErrorKind::kUnsupported ? BlockStatus::kUnsupported
                                                          : BlockStatus::kIoError;
}

}  // namespace hull::virtio
