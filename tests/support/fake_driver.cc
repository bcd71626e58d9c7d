#include "tests/support/fake_driver.h"

#include <thread>

#include "base/checked.h"
#include "base/endian.h"

namespace hull::testing {

namespace {

struct DescriptorOnWire {
  Le64 address;
  Le32 length;
  Le16 flags;
  Le16 next;
};

uint64_t available_offset(uint16_t size) { return 16u * size; }
uint64_t used_offset(uint16_t size) {
  return align_up<uint64_t>(available_offset(size) + 6u + 2u * size, 4);
}

GuestAddress plus(GuestAddress address, uint64_t bytes) {
  return GuestAddress{to_number(address) + bytes};
}

}  // namespace

GuestMemory make_memory(uint64_t size_bytes) {
  const MemoryRegion range{GuestAddress{0}, size_bytes};
  auto memory = GuestMemory::create({&range, 1});
  CHECK(memory.has_value());
  return *std::move(memory);
}

uint64_t FakeDriver::area_bytes(uint16_t size) { return used_offset(size) + 6u + 8u * size; }

FakeDriver::FakeDriver(const GuestMemory& memory, GuestAddress base, uint16_t size,
                       bool event_index)
    : memory_(&memory),
      size_(size),
      event_index_(event_index),
      base_(base),
      descriptors_(memory.slice(base, available_offset(size)).value()),
      available_(memory.slice(plus(base, available_offset(size)), 6u + 2u * size).value()),
      used_(memory.slice(plus(base, used_offset(size)), 6u + 8u * size).value()),
      chains_(size) {
  memory.slice(base, area_bytes(size)).value().fill(0);
  for (uint16_t i = size; i != 0; --i) free_.push_back(static_cast<uint16_t>(i - 1));
}

virtio::QueueConfig FakeDriver::config() const {
  return {.size = size_,
          .max_size = size_,
          .descriptors = base_,
          .driver = plus(base_, available_offset(size_)),
          .device = plus(base_, used_offset(size_)),
          .indirect_descriptors = true,
          .event_index = event_index_};
}

uint16_t FakeDriver::take_descriptor() {
  CHECK(!free_.empty());
  const uint16_t index = free_.back();
  free_.pop_back();
  return index;
}

uint16_t FakeDriver::add(std::span<const Buffer> buffers) {
  std::vector<uint16_t> chain;
  for (size_t i = 0; i < buffers.size(); ++i) chain.push_back(take_descriptor());
  for (size_t i = 0; i < buffers.size(); ++i) {
    const bool last = i + 1 == buffers.size();
    const int flags =
        (buffers[i].access == Access::kWrite ? kDescriptorWrite : 0) | (last ? 0 : kDescriptorNext);
    write_descriptor(chain[i], to_number(buffers[i].address), buffers[i].length,
                     static_cast<uint16_t>(flags), last ? uint16_t{0} : chain[i + 1]);
  }
  const uint16_t head = chain.front();
  chains_[head] = std::move(chain);
  make_available(head);
  return head;
}

uint16_t FakeDriver::add_indirect(GuestAddress table, std::initializer_list<Buffer> buffers) {
  uint16_t index = 0;
  for (const Buffer& buffer : buffers) {
    const bool last = index + 1u == buffers.size();
    const int flags =
        (buffer.access == Access::kWrite ? kDescriptorWrite : 0) | (last ? 0 : kDescriptorNext);
    write_descriptor_at(plus(table, 16u * index), to_number(buffer.address), buffer.length,
                        static_cast<uint16_t>(flags), static_cast<uint16_t>(index + 1));
    ++index;
  }
  const uint16_t head = take_descriptor();
  write_descriptor(head, to_number(table), 16u * index, kDescriptorIndirect, 0);
  chains_[head] = {head};
  make_available(head);
  return head;
}

std::optional<FakeDriver::Used> FakeDriver::pop_used() {
  if (used_index() == used_seen_) return std::nullopt;
  const size_t entry = 4u + 8u * (used_seen_ % size_);
  const Used used{used_.read<Le32>(entry), used_.read<Le32>(entry + 4)};
  ++used_seen_;
  if (used.id < size_) {
    free_.insert(free_.end(), chains_[used.id].rbegin(), chains_[used.id].rend());
    chains_[used.id].clear();
  }
  return used;
}

FakeDriver::Used FakeDriver::wait_used() {
  for (;;) {
    if (const auto used = pop_used()) return *used;
    std::this_thread::yield();
  }
}

void FakeDriver::write_descriptor(uint16_t index, uint64_t address, uint32_t length, uint16_t flags,
                                  uint16_t next) {
  descriptors_.write(16u * index, DescriptorOnWire{address, length, flags, next});
}

void FakeDriver::write_descriptor_at(GuestAddress where, uint64_t address, uint32_t length,
                                     uint16_t flags, uint16_t next) {
  memory_->slice(where, 16).value().write(0, DescriptorOnWire{address, length, flags, next});
}

void FakeDriver::make_available(uint16_t head) {
  available_.write(4u + 2u * (available_index_ % size_), Le16(head));
  set_available_index(static_cast<uint16_t>(available_index_ + 1));
}

void FakeDriver::set_available_index(uint16_t index) {
  available_index_ = index;
  available_.store_release_u16(2, index);
}

uint16_t FakeDriver::used_index() const { return used_.load_acquire_u16(2); }

void FakeDriver::set_no_interrupt(bool wanted) { available_.store_release_u16(0, wanted ? 1 : 0); }
void FakeDriver::set_used_event(uint16_t event) {
  available_.store_release_u16(4u + 2u * size_, event);
}
uint16_t FakeDriver::available_event() const { return used_.load_acquire_u16(4u + 8u * size_); }
uint16_t FakeDriver::used_flags() const { return used_.load_acquire_u16(0); }

bool FakeDriver::must_kick() const {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!event_index_) return used_flags() == 0;
  return static_cast<uint16_t>(available_index_ - 1) == available_event();
}

uint32_t FakeMmioDriver::read(uint64_t offset) {
  Le32 value;
  transport_.read(offset, {reinterpret_cast<uint8_t*>(&value), sizeof value});
  return value;
}

void FakeMmioDriver::write(uint64_t offset, uint32_t value) {
  const Le32 bytes = value;
  transport_.write(offset, {reinterpret_cast<const uint8_t*>(&bytes), sizeof bytes});
}

uint64_t FakeMmioDriver::offered_features() {
  write(0x14, 1);
  const uint64_t high = read(0x10);
  write(0x14, 0);
  return high << 32 | read(0x10);
}

bool FakeMmioDriver::negotiate(uint64_t features) {
  write(0x70, 1);
  write(0x70, 3);
  write(0x24, 0);
  write(0x20, static_cast<uint32_t>(features));
  write(0x24, 1);
  write(0x20, static_cast<uint32_t>(features >> 32));
  write(0x70, 11);
  return status() == 11;
}

void FakeMmioDriver::set_up_queue(uint32_t index, const virtio::QueueConfig& config) {
  const auto write_address = [this](uint64_t offset, GuestAddress address) {
    write(offset, static_cast<uint32_t>(to_number(address)));
    write(offset + 4, static_cast<uint32_t>(to_number(address) >> 32));
  };
  write(0x30, index);
  write(0x38, config.size);
  write_address(0x80, config.descriptors);
  write_address(0x90, config.driver);
  write_address(0xa0, config.device);
  write(0x44, 1);
}

void FakeMmioDriver::reset() {
  write(0x70, 0);
  while (status() != 0) std::this_thread::yield();
}

void FakeMmioDriver::set_driver_ok() { write(0x70, 15); }

}  // namespace hull::testing
