#include "virtio/queue.h"

#include <atomic>
#include <bit>

#include "base/checked.h"
#include "base/endian.h"

namespace hull::virtio {

namespace {

// Virtio 1.2, 2.7.5.
struct Descriptor {
  Le64 address;  // 0x0
  Le32 length;   // 0x8
  Le16 flags;    // 0xc
  Le16 next;     // 0xe
};
static_assert(sizeof(Descriptor) == 16);

constexpr uint16_t kDescriptorNext = 1;
constexpr uint16_t kDescriptorWrite = 2;
constexpr uint16_t kDescriptorIndirect = 4;

// Virtio 1.2, 2.7.6 and 2.7.8: both rings are flags, index, entries, event.
struct UsedElement {
  Le32 id;
  Le32 length;
};
static_assert(sizeof(UsedElement) == 8);

constexpr size_t kFlagsOffset = 0;
constexpr size_t kIndexOffset = 2;
constexpr size_t kEntriesOffset = 4;
constexpr uint16_t kNoInterrupt = 1;
constexpr uint16_t kNoNotify = 1;

constexpr uint32_t kMaxSize = 32768;  // 2.7

size_t available_bytes(uint32_t size) { return kEntriesOffset + 2 * size + 2; }
size_t used_bytes(uint32_t size) { return kEntriesOffset + sizeof(UsedElement) * size + 2; }

}  // namespace

std::string_view describe(QueueError error) {
  switch (error) {
    case QueueError::kBadSize: return "queue size is zero, too large or not a power of two";
    case QueueError::kMisaligned: return "queue area is not aligned";
    case QueueError::kRingOutsideMemory: return "queue area is not inside memory";
    case QueueError::kAvailableIndexJump: return "available index jumped";
    case QueueError::kIndexOutOfRange: return "descriptor index is out of range";
    case QueueError::kHeadInFlight: return "buffer was made available twice";
    case QueueError::kChainTooLong: return "descriptor chain loops or is too long";
    case QueueError::kBadIndirectTable: return "indirect descriptor table is malformed";
    case QueueError::kReadableAfterWritable: return "readable buffer after a writable one";
    case QueueError::kBufferOutsideMemory: return "buffer is not inside memory";
  }
  return "";
}

std::expected<Queue, QueueError> Queue::create(const QueueConfig& config, const GuestMemory& memory,
                                               QueuePosition position) {
  const uint32_t size = config.size;
  if (!std::has_single_bit(size) || size > config.max_size || size > kMaxSize)
    return std::unexpected(QueueError::kBadSize);
  if (!is_aligned<uint64_t>(to_number(config.descriptors), 16) ||
      !is_aligned<uint64_t>(to_number(config.driver), 2) ||
      !is_aligned<uint64_t>(to_number(config.device), 4))
    return std::unexpected(QueueError::kMisaligned);
  const auto descriptors = memory.slice(config.descriptors, sizeof(Descriptor) * size);
  const auto available = memory.slice(config.driver, available_bytes(size));
  const auto used = memory.slice(config.device, used_bytes(size));
  if (!descriptors || !available || !used) return std::unexpected(QueueError::kRingOutsideMemory);
  return Queue(config, memory, *descriptors, *available, *used, position);
}

Queue::Queue(const QueueConfig& config, const GuestMemory& memory, GuestSlice descriptors,
             GuestSlice available, GuestSlice used, QueuePosition position)
    : memory_(&memory),
      descriptors_(descriptors),
      available_(available),
      used_(used),
      size_(static_cast<uint16_t>(config.size)),
      max_chain_(config.max_size),
      indirect_descriptors_(config.indirect_descriptors),
      event_index_(config.event_index),
      next_available_(position.next_available),
      seen_available_(position.next_available),
      next_used_(position.next_used),
      notified_used_(position.next_used),
      slots_(std::make_unique<Chain::Slot[]>(config.size)) {}

Queue::Queue(Queue&& other) noexcept
    : memory_(other.memory_),
      descriptors_(other.descriptors_),
      available_(other.available_),
      used_(other.used_),
      size_(other.size_),
      max_chain_(other.max_chain_),
      indirect_descriptors_(other.indirect_descriptors_),
      event_index_(other.event_index_),
      next_available_(other.next_available_),
      seen_available_(other.seen_available_),
      next_used_(other.next_used_),
      notified_used_(other.notified_used_),
      in_flight_(std::exchange(other.in_flight_, 0)),
      notifications_enabled_(other.notifications_enabled_),
      error_(other.error_),
      slots_(std::move(other.slots_)) {}

bool Queue::has_available() const {
  return available_.load_acquire_u16(kIndexOffset) != next_available_;
}

std::expected<std::optional<Chain>, QueueError> Queue::pop() {
  if (error_) return std::unexpected(*error_);
  if (next_available_ == seen_available_) {
    // 2.7.13.3: the driver writes entries and descriptors before the index; acquire pairs with
    // that.
    seen_available_ = available_.load_acquire_u16(kIndexOffset);
    if (next_available_ == seen_available_) return std::optional<Chain>();
    const auto pending = static_cast<uint16_t>(seen_available_ - next_available_);
    if (pending > size_) return broken(QueueError::kAvailableIndexJump);
  }
  const size_t entry = kEntriesOffset + 2u * (next_available_ % size_);
  const uint16_t head = available_.read<Le16>(entry);
  if (head >= size_) return broken(QueueError::kIndexOutOfRange);
  Chain::Slot& slot = slots_[head];
  if (slot.in_flight) return broken(QueueError::kHeadInFlight);
  if (const auto error = copy_chain(head, slot)) return broken(*error);
  slot.in_flight = true;
  ++in_flight_;
  ++next_available_;
  return Chain(&slot, head);
}

// A walk through one chain: the table that it is in, and the entry that comes next.
struct Queue::Walk {
  GuestSlice table;
  uint32_t table_entries;
  uint32_t index;
  bool in_indirect_table = false;
  bool ended = false;
  bool writable_seen = false;
  uint64_t total_bytes = 0;
};

std::optional<QueueError> Queue::copy_chain(uint16_t head, Chain::Slot& slot) const {
  slot.segments.clear();
  slot.readable_count = 0;
  Walk walk{.table = descriptors_, .table_entries = size_, .index = head};
  // 2.7.5.3.1: no chain is longer than the queue, which ends loops as well. One step more for the
  // descriptor that refers to an indirect table.
  for (uint32_t steps = 0; !walk.ended; ++steps) {
    if (steps > max_chain_) return QueueError::kChainTooLong;
    if (const auto error = step(walk, slot)) return error;
  }
  return std::nullopt;
}

std::optional<QueueError> Queue::step(Walk& walk, Chain::Slot& slot) const {
  if (walk.index >= walk.table_entries) return QueueError::kIndexOutOfRange;
  const auto descriptor = walk.table.read<Descriptor>(sizeof(Descriptor) * walk.index);
  const uint16_t flags = descriptor.flags;
  const uint32_t length = descriptor.length;
  if ((flags & kDescriptorIndirect) != 0) {
    // 2.7.5.3.1: negotiated, not nested, last in its chain. The write flag is ignored (2.7.5.3.2).
    const uint32_t entries = length / sizeof(Descriptor);
    if (!indirect_descriptors_ || walk.in_indirect_table || (flags & kDescriptorNext) != 0 ||
        entries == 0 || length % sizeof(Descriptor) != 0 || entries > kMaxSize)
      return QueueError::kBadIndirectTable;
    const auto table = memory_->slice(GuestAddress{descriptor.address.get()}, length);
    if (!table) return QueueError::kBadIndirectTable;
    walk.table = *table;
    walk.table_entries = entries;
    walk.index = 0;
    walk.in_indirect_table = true;
    return std::nullopt;
  }
  const bool writable = (flags & kDescriptorWrite) != 0;
  // 2.7.4.2: device-readable elements come first.
  if (!writable && walk.writable_seen) return QueueError::kReadableAfterWritable;
  walk.writable_seen = writable;
  walk.total_bytes += length;
  if (walk.total_bytes > UINT32_MAX) return QueueError::kChainTooLong;  // 2.7.5.2
  if (length != 0) {
    const auto segment = memory_->slice(GuestAddress{descriptor.address.get()}, length);
    if (!segment) return QueueError::kBufferOutsideMemory;
    slot.segments.push_back(*segment);
    if (!writable) ++slot.readable_count;
  }
  walk.ended = (flags & kDescriptorNext) == 0;
  walk.index = descriptor.next;
  return std::nullopt;
}

std::unexpected<QueueError> Queue::broken(QueueError error) {
  error_ = error;
  return std::unexpected(error);
}

void Queue::complete(Chain chain, uint32_t written) {
  stage(std::move(chain), written);
  publish();
}

void Queue::stage(Chain chain, uint32_t written) {
  const size_t entry = kEntriesOffset + sizeof(UsedElement) * (next_used_ % size_);
  used_.write(entry, UsedElement{chain.head(), written});
  ++next_used_;
  release(chain);
}

void Queue::publish() {
  // 2.7.8.2: data and length before the index; release keeps that order.
  used_.store_release_u16(kIndexOffset, next_used_);
}

void Queue::discard(Chain chain) { release(chain); }

void Queue::release(Chain& chain) {
  CHECK(chain.slot_ == &slots_[chain.head_] && in_flight_ != 0);
  chain.slot_->in_flight = false;
  chain.slot_ = nullptr;
  --in_flight_;
}

bool Queue::should_notify() {
  if (next_used_ == notified_used_) return false;
  // 2.7.7.2 needs the index store before the load of the driver's wish: a store and a later load
  // are ordered by a full fence alone. Without it the driver sleeps on a buffer that is there.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const uint16_t previous = std::exchange(notified_used_, next_used_);
  if (!event_index_) return (available_.load_acquire_u16(kFlagsOffset) & kNoInterrupt) == 0;
  const uint16_t event = available_.load_acquire_u16(kEntriesOffset + 2u * size_);
  // Did the index pass event + 1 on its way from `previous` to next_used_, modulo 2^16?
  return static_cast<uint16_t>(next_used_ - event - 1) <
         static_cast<uint16_t>(next_used_ - previous);
}

void Queue::disable_notifications() {
  if (!std::exchange(notifications_enabled_, false)) return;
  // 2.7.10.2: with the event index `flags` stays 0; an event that has just been passed is the one
  // that is furthest away.
  if (event_index_)
    used_.store_release_u16(kEntriesOffset + sizeof(UsedElement) * size_,
                            static_cast<uint16_t>(next_available_ - 1));
  else
    used_.store_release_u16(kFlagsOffset, kNoNotify);
}

bool Queue::enable_notifications() {
  notifications_enabled_ = true;
  if (event_index_)
    used_.store_release_u16(kEntriesOffset + sizeof(UsedElement) * size_, next_available_);
  else
    used_.store_release_u16(kFlagsOffset, 0);
  // The mirror of should_notify(): our wish before the look at the driver's index (2.7.13.4.1).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return !has_available();
}

}  // namespace hull::virtio
