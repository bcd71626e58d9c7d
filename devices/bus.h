// Port and MMIO buses. Built by vmm/, frozen before the first vCPU runs, then read by all vCPU
// threads without a lock; each device protects its own registers.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hull::devices {

// Total functions: any offset inside the range, any width of 1 to 8 bytes, at any time, from any
// vCPU thread. Nothing here blocks. Reads of nothing return all-ones.
class BusDevice {
 public:
  virtual ~BusDevice() = default;
  virtual std::string_view name() const = 0;  // for messages: "serial0", "virtio3"
  virtual void read(uint64_t offset, std::span<uint8_t> data) = 0;
  virtual void write(uint64_t offset, std::span<const uint8_t> data) = 0;
};

class Bus {
 public:
  // `device` is borrowed for the life of the bus. Overlap or wrap-around is our bug: CHECK.
  void add(uint64_t base, uint64_t size, BusDevice& device);

  // False if no device claims the whole access: then reads are all-ones and writes are dropped.
  bool read(uint64_t address, std::span<uint8_t> data) const;
  bool write(uint64_t address, std::span<const uint8_t> data) const;

 private:
  struct Entry {
    uint64_t base;
    uint64_t size;
    BusDevice* device;
  };
  const Entry* find(uint64_t address, size_t length) const;
  std::vector<Entry> entries_;  // ascending by base
};

}  // namespace hull::devices
