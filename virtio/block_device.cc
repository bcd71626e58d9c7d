#include "virtio/block_device.h"

#include <algorithm>
#include <bit>

#include "base/endian.h"
#include "base/limits.h"
#include "virtio/block_session.h"

namespace hull::virtio {

namespace {

// Virtio 1.2, 5.2.3.
enum class BlockFeature : uint8_t {
  kSizeMax = 1,
  kSegmentMax = 2,
  kReadOnly = 5,
  kBlockSize = 6,
  kFlush = 9,
  kTopology = 10,
  kDiscard = 13,
  kWriteZeroes = 14,
};

// Virtio 1.2, 5.2.4.
struct BlockConfig {
  Le64 capacity;               // 0x00, sectors
  Le32 size_max;               // 0x08
  Le32 segment_max;            // 0x0c
  uint8_t geometry[4];         // 0x10
  Le32 block_size;             // 0x14
  uint8_t physical_block_exp;  // 0x18
  uint8_t alignment_offset;    // 0x19
  Le16 min_io_size;            // 0x1a, logical blocks
  Le32 opt_io_size;            // 0x1c, logical blocks
  uint8_t writeback;           // 0x20
  uint8_t unused0;             // 0x21
  Le16 queues;                 // 0x22
  Le32 max_discard_sectors;    // 0x24
  Le32 max_discard_segments;   // 0x28
  Le32 discard_alignment;      // 0x2c, sectors
  Le32 max_zeroes_sectors;     // 0x30
  Le32 max_zeroes_segments;    // 0x34
  uint8_t zeroes_may_unmap;    // 0x38
  uint8_t unused1[3];          // 0x39
};
static_assert(sizeof(BlockConfig) == 0x3c);

constexpr uint32_t kMaxRangeSectors = 1u << 21;  // 1 GiB
constexpr uint32_t kMaxRanges = 16;
// A driver that keeps to both stays below kMaxTransferBytes.
constexpr uint32_t kMaxSegmentBytes = 128 << 10;
constexpr uint32_t kMaxSegments = 254;
static_assert(uint64_t{kMaxSegmentBytes} * kMaxSegments <= kMaxTransferBytes);

}  // namespace

BlockDevice::BlockDevice(BlockOptions options, blockcore::Disk& disk, blockcore::IoEngine& engine)
    : options_(std::move(options)),
      geometry_{.capacity_sectors = disk.size_bytes() / kSectorBytes,
                .read_only = options_.read_only || disk.read_only(),
                .can_discard = options_.discard && disk.can_discard(),
                .discard_granularity = disk.discard_granularity_bytes()},
      disk_(disk),
      engine_(engine) {
  CHECK(std::has_single_bit(options_.queue_size) && options_.queue_size >= kMinQueueSize);
  CHECK(std::has_single_bit(options_.logical_block_size) && options_.logical_block_size >= 512);
  CHECK(std::has_single_bit(options_.physical_block_size) &&
        options_.physical_block_size >= options_.logical_block_size);
}

BlockDevice::~BlockDevice() { CHECK(session_ == nullptr); }

FeatureSet BlockDevice::device_features() const {
  const bool read_only = geometry_.read_only;
  return FeatureSet()
      .with(BlockFeature::kSizeMax)
      .with(BlockFeature::kSegmentMax)
      .with(BlockFeature::kBlockSize)
      .with(BlockFeature::kTopology)
      .with(BlockFeature::kFlush)
      .with(BlockFeature::kReadOnly, read_only)
      .with(BlockFeature::kDiscard, !read_only && geometry_.can_discard)
      .with(BlockFeature::kWriteZeroes, !read_only);
}

BlockLimits BlockDevice::limits(FeatureSet features) const {
  return {.capacity_sectors = geometry_.capacity_sectors,
          .read_only = geometry_.read_only,
          .discard = features.has(BlockFeature::kDiscard),
          .write_zeroes = features.has(BlockFeature::kWriteZeroes),
          .max_range_sectors = kMaxRangeSectors,
          .max_ranges = kMaxRanges};
}

void BlockDevice::read_config(uint64_t offset, std::span<uint8_t> data) const {
  const uint32_t logical = options_.logical_block_size;
  BlockConfig config{};
  config.capacity = geometry_.capacity_sectors;
  config.size_max = kMaxSegmentBytes;
  // Header and status take a descriptor each.
  config.segment_max = std::min(options_.queue_size - 2u, kMaxSegments);
  config.block_size = logical;
  config.physical_block_exp =
      static_cast<uint8_t>(std::countr_zero(options_.physical_block_size / logical));
  config.min_io_size = static_cast<uint16_t>(options_.physical_block_size / logical);
  config.queues = uint16_t{1};
  if (device_features().has(BlockFeature::kDiscard)) {
    config.max_discard_sectors = kMaxRangeSectors;
    config.max_discard_segments = kMaxRanges;
    config.discard_alignment =
        std::max(geometry_.discard_granularity, logical) / uint32_t{kSectorBytes};
  }
  if (device_features().has(BlockFeature::kWriteZeroes)) {
    config.max_zeroes_sectors = kMaxRangeSectors;
    config.max_zeroes_segments = kMaxRanges;
    config.zeroes_may_unmap = geometry_.can_discard ? 1 : 0;
  }
  read_config_bytes({reinterpret_cast<const uint8_t*>(&config), sizeof config}, offset, data);
}

// No field is for the driver to write: CONFIG_WCE is not offered.
void BlockDevice::write_config(uint64_t /*offset*/, std::span<const uint8_t> /*data*/) {}

Result<void> BlockDevice::activate(DeviceResources resources) {
  std::optional<QueueResources>& queue = resources.queues[0];
  if (!queue) return {};
  session_ = std::make_shared<BlockSession>(
      BlockSession::Context{.name = options_.name,
                            .serial = options_.serial,
                            .disk = disk_,
                            .engine = engine_,
                            .interrupt = *resources.interrupt,
                            .queue_index = 0,
                            .limits = limits(resources.features),
                            .unmap = options_.discard,
                            .write_through = !resources.features.has(BlockFeature::kFlush),
                            .on_error = options_.on_error},
      *std::move(queue));
  engine_.post([session = session_] { session->start(); });
  return {};
}

void BlockDevice::stop(std::function<void()> stopped) {
  if (session_ == nullptr) return stopped();
  engine_.post([session = std::move(session_), stopped = std::move(stopped)]() mutable {
    BlockSession& stopping = *session;
    stopping.stop(std::move(session), std::move(stopped));
  });
}

void BlockDevice::pause(std::function<void()> paused) {
  if (session_ == nullptr) return paused();
  engine_.post([session = session_, done = std::move(paused)]() mutable {
    session->pause(std::move(done));
  });
}

void BlockDevice::resume() {
  if (session_ != nullptr) engine_.post([session = session_] { session->resume(); });
}

std::vector<std::optional<QueuePosition>> BlockDevice::queue_positions() const {
  if (session_ == nullptr) return {std::nullopt};
  return {session_->position()};
}

void BlockDevice::abandon() {
  engine_.post([&disk = disk_] { disk.abandon(); });
}

}  // namespace hull::virtio
