// The firmware configuration device of QEMU (docs/specs/fw_cfg.rst of QEMU): what the machine tells
// its firmware, as items that have a number and files that have a name, read byte by byte from a
// port or by direct access to memory. Nothing of it can be written.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/guest_memory.h"
#include "base/mutex.h"
#include "base/state.h"
#include "devices/bus.h"

namespace hull::devices {

class FwCfg final : public BusDevice, public Stateful {
 public:
  // Two bytes select an item, byte reads at 1 take its bytes; 4 and 8 are the halves of the
  // address of a transfer, whose second one starts it.
  static constexpr uint64_t kBasePort = 0x510;
  static constexpr uint64_t kSelector = 0;
  static constexpr uint64_t kData = 1;
  static constexpr uint64_t kAddressHigh = 4;
  static constexpr uint64_t kAddressLow = 8;
  static constexpr uint64_t kPortCount = 12;

  static constexpr uint16_t kSignature = 0x00;
  static constexpr uint16_t kFeatures = 0x01;
  static constexpr uint16_t kDirectory = 0x19;
  static constexpr uint16_t kFirstFile = 0x20;
  static constexpr size_t kMaxFiles = 0x1000;  // what a key has room for
  static constexpr size_t kMaxNameBytes = 55;
  // Of one transfer: a longer one is refused, as it would keep its processor for too long.
  static constexpr uint32_t kMaxTransferBytes = 64u << 20;

  using Bytes = std::vector<uint8_t>;

  // `memory` is borrowed for the life of the device. Keys lie below kFirstFile, or from 0x8000 on
  // (those of the architecture); names have 1 to kMaxNameBytes bytes.
  FwCfg(const GuestMemory& memory, std::map<uint16_t, Bytes> items,
        std::map<std::string, Bytes> files);

  std::string_view name() const override { return "fw-cfg"; }
  void read(uint64_t offset, std::span<uint8_t> data) override;
  void write(uint64_t offset, std::span<const uint8_t> data) override;

  void save(StateWriter& out) const override;
  Result<void> load(StateReader& in) override;

 private:
  void select(uint16_t key) REQUIRES(mutex_);
  // The next bytes of the selected item, at most `length`; none at its end.
  std::span<const uint8_t> take(uint32_t length) REQUIRES(mutex_);
  void transfer() REQUIRES(mutex_);
  bool obey(uint32_t control, uint32_t length, uint64_t address) REQUIRES(mutex_);

  const GuestMemory& memory_;
  std::map<uint16_t, Bytes> items_;
  mutable Mutex mutex_;
  uint16_t key_ GUARDED_BY(mutex_) = 0;
  uint32_t offset_ GUARDED_BY(mutex_) = 0;
  uint64_t address_ GUARDED_BY(mutex_) = 0;
};

}  // namespace hull::devices
