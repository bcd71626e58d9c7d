#include "devices/bus.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked.h"

namespace hull::devices {

void Bus::add(uint64_t base, uint64_t size, BusDevice& device) {
  CHECK(size != 0 && size - 1 <= UINT64_MAX - base);
  const auto next = std::ranges::lower_bound(entries_, base, {}, &Entry::base);
  // Differences, because the end of the last possible range does not fit into 64 bits.
  CHECK(next == entries_.end() || next->base - base >= size);
  CHECK(next == entries_.begin() || base - std::prev(next)->base >= std::prev(next)->size);
  entries_.insert(next, {base, size, &device});
}

const Bus::Entry* Bus::find(uint64_t address, size_t length) const {
  auto entry = std::ranges::upper_bound(entries_, address, {}, &Entry::base);
  if (entry == entries_.begin()) return nullptr;
  --entry;
  return range_fits<uint64_t>(address - entry->base, length, entry->size) ? &*entry : nullptr;
}

bool Bus::read(uint64_t address, std::span<uint8_t> data) const {
  const Entry* entry = find(address, data.size());
  if (entry == nullptr) {
    std::ranges::fill(data, uint8_t{0xff});
    return false;
  }
  entry->device->read(address - entry->base, data);
  return true;
}

bool Bus::write(uint64_t address, std::span<const uint8_t> data) const {
  const Entry* entry = find(address, data.size());
  if (entry == nullptr) return false;
  entry->device->write(address - entry->base, data);
  return true;
}

}  // namespace hull::devices
