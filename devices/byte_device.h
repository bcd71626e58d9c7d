// Base of the devices whose registers are all one byte wide, as on the ISA bus.
#pragma once

#include "devices/bus.h"

namespace hull::devices {

// A wider access is split into one byte access per register, in ascending order, which is what an
// ISA bridge does. Both functions are total: nothing there reads as 0xff, and writes to it drop.
class ByteDevice : public BusDevice {
 public:
  void read(uint64_t offset, std::span<uint8_t> data) final;
  void write(uint64_t offset, std::span<const uint8_t> data) final;

 private:
  virtual uint8_t read_byte(uint64_t offset) = 0;
  virtual void write_byte(uint64_t offset, uint8_t value) = 0;
};

}  // namespace hull::devices
