#include "virtio/block_device.h"

#include <algorithm>
#include <bit>
#include <semaphore>

#include "base/endian.h"
#include "base/log.h"

namespace hull::virtio {

namespace {

// Virtio 1.2, 5.2.3.
enum class BlockFeature : uint8_t {
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
// Requests taken from the ring before others on the same thread get a turn.
constexpr unsigned kMaxRequestsPerTurn = 64;

}  // namespace

// Lives from activate() to reset(); every member function runs on the engine's thread.
class BlockDevice::Session : private blockcore::LoopClient {
 public:
  struct Context {
    const BlockOptions& options;
    blockcore::Disk& disk;
    blockcore::IoEngine& engine;
    DeviceInterrupt& interrupt;
    BlockLimits limits;
    bool write_through;  // the driver knows no FLUSH
  };
  Session(Context context, QueueResources resources)
      : context_(context), queue_(std::move(resources.queue)), kick_(*resources.kick) {}

  void start();
  // Releases `drained` once nothing is in flight; nothing touches the session afterwards.
  void stop(std::binary_semaphore& drained);

 private:
  struct Slot {
    std::optional<Chain> chain;
    BlockRequest request;
  };

  bool turn() override;
  bool may_sleep() override;
  void stop_serving();
  void begin(Chain chain);
  blockcore::Task<void> serve(Slot& slot);
  blockcore::Task<Result<void>> serve_ranges(const BlockRequest& request);
  Result<void> write_id(const BlockRequest& request);
  void finish(Slot& slot, const Result<void>& result);
  void answer(Slot& slot, BlockStatus status);
  void fail(std::string_view why);

  const Context context_;
  Queue queue_;
  const EventFd& kick_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> idle_;  // last in, first out: the warm one
  bool serving_ = false;
  std::binary_semaphore* drained_ = nullptr;  // set: stopping
};

void BlockDevice::Session::start() {
  // The kick only wakes the loop, which then gives everybody a turn.
  const auto watched = context_.engine.watch(kick_.fd(), [] {});
  if (!watched) return fail(watched.error().message());
  context_.engine.add_client(*this);
  serving_ = true;
}

void BlockDevice::Session::stop(std::binary_semaphore& drained) {
  stop_serving();
  drained_ = &drained;
  if (queue_.in_flight() == 0) drained.release();
}

void BlockDevice::Session::stop_serving() {
  if (!serving_) return;
  context_.engine.remove_client(*this);
  context_.engine.unwatch(kick_.fd());
  serving_ = false;
}

bool BlockDevice::Session::turn() {
  queue_.disable_notifications();
  unsigned taken = 0;
  while (taken < kMaxRequestsPerTurn) {
    auto chain = queue_.pop();
    if (!chain) {
      fail(describe(chain.error()));
      break;
    }
    if (!*chain) break;
    ++taken;
    begin(**std::move(chain));
  }
  // One decision for everything that was finished since the last turn.
  if (queue_.should_notify()) context_.interrupt.used_buffers(0);
  return taken != 0;
}

bool BlockDevice::Session::may_sleep() { return queue_.enable_notifications(); }

void BlockDevice::Session::begin(Chain chain) {
  if (idle_.empty()) {
    slots_.push_back(std::make_unique<Slot>());
    idle_.push_back(slots_.back().get());
  }
  Slot& slot = *idle_.back();
  idle_.pop_back();
  slot.request.parse(chain, context_.limits);
  slot.chain.emplace(std::move(chain));
  if (slot.request.operation == BlockOperation::kNothing)
    answer(slot, slot.request.status);
  else
    blockcore::start_detached(serve(slot));
}

blockcore::Task<void> BlockDevice::Session::serve(Slot& slot) {
  const BlockRequest& request = slot.request;
  Result<void> result;
  switch (request.operation) {
    case BlockOperation::kRead:
      result = co_await context_.disk.read(request.offset, request.buffers);
      break;
    case BlockOperation::kWrite:
      result = co_await context_.disk.write(request.offset, request.buffers);
      break;
    case BlockOperation::kFlush:
      // A disk that we never write has nothing to flush, and firmware flushes it all the same.
      if (!context_.limits.read_only) result = co_await context_.disk.flush();
      break;
    case BlockOperation::kDiscard:
    case BlockOperation::kWriteZeroes: result = co_await serve_ranges(request); break;
    case BlockOperation::kGetId: result = write_id(request); break;
    case BlockOperation::kNothing: break;
  }
  // 5.2.6.2: a driver without FLUSH counts on every completed write.
  const bool wrote = request.operation == BlockOperation::kWrite ||
                     request.operation == BlockOperation::kWriteZeroes;
  if (wrote && result && context_.write_through) result = co_await context_.disk.flush();
  finish(slot, result);
}

blockcore::Task<Result<void>> BlockDevice::Session::serve_ranges(const BlockRequest& request) {
  for (const BlockRequest::Range& range : request.ranges) {
    if (request.operation == BlockOperation::kDiscard) {
      CO_TRY_VOID(co_await context_.disk.discard(range.offset, range.length));
    } else {
      const bool may_unmap = range.may_unmap && context_.options.discard;
      CO_TRY_VOID(co_await context_.disk.write_zeroes(range.offset, range.length, may_unmap));
    }
  }
  co_return Result<void>();
}

Result<void> BlockDevice::Session::write_id(const BlockRequest& request) {
  uint8_t id[kBlockIdBytes] = {};
  const std::string& serial = context_.options.serial;
  std::copy_n(serial.begin(), std::min(serial.size(), kBlockIdBytes), id);
  ChainWriter target = *request.id_target;
  CHECK(target.write(std::span(id).first(request.length)));
  return {};
}

void BlockDevice::Session::finish(Slot& slot, const Result<void>& result) {
  if (!result)
    LOG_LIMITED(LogLevel::kError, "{}: {}", context_.options.name, result.error().message());
  answer(slot, block_status(result));
}

void BlockDevice::Session::answer(Slot& slot, BlockStatus status) {
  Chain chain = *std::move(slot.chain);
  slot.chain.reset();
  if (drained_ != nullptr) {
    // The driver has forgotten the buffer: nothing is written into its memory any more.
    queue_.discard(std::move(chain));
    if (queue_.in_flight() == 0) drained_->release();
    return;
  }
  const auto byte = static_cast<uint8_t>(status);
  if (slot.request.status_byte) CHECK(slot.request.status_byte->write({&byte, 1}));
  queue_.complete(std::move(chain), slot.request.written_bytes(status));
  idle_.push_back(&slot);
}

void BlockDevice::Session::fail(std::string_view why) {
  LOG_LIMITED(LogLevel::kWarn, "{}: stopped: {}", context_.options.name, why);
  stop_serving();
  context_.interrupt.device_failed();
}

BlockDevice::BlockDevice(BlockOptions options, blockcore::Disk& disk, blockcore::IoEngine& engine)
    : options_(std::move(options)),
      geometry_{.capacity_sectors = disk.size_bytes() / kSectorBytes,
                .read_only = options_.read_only || disk.read_only(),
                .can_discard = options_.discard && disk.can_discard(),
                .discard_granularity = disk.discard_granularity_bytes()},
      disk_(disk),
      engine_(engine) {
  CHECK(std::has_single_bit(options_.queue_size) && options_.queue_size >= 4);
  CHECK(std::has_single_bit(options_.logical_block_size) && options_.logical_block_size >= 512);
  CHECK(std::has_single_bit(options_.physical_block_size) &&
        options_.physical_block_size >= options_.logical_block_size);
}

BlockDevice::~BlockDevice() { BlockDevice::reset(); }

FeatureSet BlockDevice::device_features() const {
  const bool read_only = geometry_.read_only;
  return FeatureSet()
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
  config.segment_max = options_.queue_size - 2u;  // header and status take one each
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
  session_ = std::make_unique<Session>(
      Session::Context{.options = options_,
                       .disk = disk_,
                       .engine = engine_,
                       .interrupt = *resources.interrupt,
                       .limits = limits(resources.features),
                       .write_through = !resources.features.has(BlockFeature::kFlush)},
      *std::move(queue));
  engine_.post([session = session_.get()] { session->start(); });
  return {};
}

void BlockDevice::reset() {
  if (session_ == nullptr) return;
  std::binary_semaphore drained(0);
  engine_.post([&] { session_->stop(drained); });
  drained.acquire();
  session_.reset();
}

}  // namespace hull::virtio
