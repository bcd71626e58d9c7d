// virtio-blk (virtio 1.2, section 5.2): one request at a time with run(), many with submit() and
// collect().
#pragma once

#include <cstdint>

#include "firmware/guest/args.h"
#include "firmware/guest/virtqueue.h"

namespace hull::guest {

inline constexpr uint32_t kSectorSize = 512;

// Feature bits, 5.2.3.
inline constexpr uint64_t kBlkReadOnly = uint64_t{1} << 5;
inline constexpr uint64_t kBlkBlockSize = uint64_t{1} << 6;
inline constexpr uint64_t kBlkFlush = uint64_t{1} << 9;
inline constexpr uint64_t kBlkDiscard = uint64_t{1} << 13;
inline constexpr uint64_t kBlkWriteZeroes = uint64_t{1} << 14;

// Request types and status, 5.2.6.
inline constexpr uint32_t kBlkIn = 0;
inline constexpr uint32_t kBlkOut = 1;
inline constexpr uint32_t kBlkFlushRequest = 4;
inline constexpr uint32_t kBlkGetId = 8;
inline constexpr uint32_t kBlkDiscardRequest = 11;
inline constexpr uint32_t kBlkWriteZeroesRequest = 13;
inline constexpr uint8_t kBlkOk = 0;
inline constexpr uint8_t kBlkIoError = 1;
inline constexpr uint8_t kBlkUnsupported = 2;
inline constexpr uint8_t kBlkNoStatus = 0xff;  // what we put there before: the device wrote nothing

struct BlockRequestHeader {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};

// For discard and write-zeroes, 5.2.6.
struct BlockRange {
  uint64_t sector;
  uint32_t sectors;
  uint32_t flags;  // bit 0: unmap
};

class BlockDevice {
 public:
  // dev=N of the arguments: the N-th block device. Negotiates and starts it.
  Failure open(const Args& args);
  Failure open(uint64_t index);

  uint64_t sectors() const { return sectors_; }
  MmioDevice& transport() { return transport_; }
  Virtqueue& queue() { return queue_; }

  // Submits and waits. `status` is the byte that the device wrote, or kBlkNoStatus.
  Failure run(uint32_t type, uint64_t sector, void* data, uint32_t length, uint8_t& status);
  // As run(), and everything but status OK is a failure.
  Failure run_ok(uint32_t type, uint64_t sector, void* data, uint32_t length);

  // Several in flight. False: no room. The device sees them after queue().kick().
  bool submit(uint32_t type, uint64_t sector, void* data, uint32_t length, uint16_t& token);
  bool collect(uint16_t& token, uint8_t& status);

 private:
  MmioDevice transport_;
  Virtqueue queue_;
  uint64_t sectors_ = 0;
  BlockRequestHeader* headers_ = nullptr;  // one for each token
  uint8_t* statuses_ = nullptr;
};

}  // namespace hull::guest
