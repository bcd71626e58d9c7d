// Port and MMIO buses: who answers at which address.
//
// Ranges come and go while vCPUs run: a PCI BAR moves whenever the guest says so. A look-up takes
// no lock. It reads an immutable table behind an atomic pointer; a change publishes a new one, and
// an old one is freed when no initiator is using it any more (each says which one it uses, so at
// most one old table for each initiator waits).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"

namespace hull::devices {

// Total functions: any offset inside the range, any width of 1 to 8 bytes, at any time, from any
// vCPU thread. Nothing here does I/O or waits for it, a reset of a virtio device excepted, which
// may take a tenth of a second. Reads of nothing return all-ones. A device protects its own
// registers.
class BusDevice {
 public:
  virtual ~BusDevice() = default;
  virtual std::string_view name() const = 0;  // for messages: "serial0", "virtio3"
  virtual void read(uint64_t offset, std::span<uint8_t> data) = 0;
  virtual void write(uint64_t offset, std::span<const uint8_t> data) = 0;
};

class Bus {
  class Table;

 public:
  // A range that is on the bus until this object dies. Its end does not wait for accesses that are
  // under way: they may still reach the device, and one of them may be what ends the region. A
  // device that is about to be destroyed while vCPUs run is first waited for, see
  // wait_for_accesses().
  class [[nodiscard]] Region {
   public:
    Region() = default;
    Region(Region&& other) noexcept : bus_(std::exchange(other.bus_, nullptr)), id_(other.id_) {}
    Region& operator=(Region&& other) noexcept {
      std::swap(bus_, other.bus_);
      std::swap(id_, other.id_);
      return *this;
    }
    ~Region() {
      if (bus_ != nullptr) bus_->unmap(id_);
    }

   private:
    friend class Bus;
    Region(Bus* bus, uint64_t id) : bus_(bus), id_(id) {}
    Bus* bus_ = nullptr;
    uint64_t id_ = 0;
  };

  // Who issues accesses: one for each vCPU thread, used by one thread at a time, and not from
  // within one of its own accesses.
  class Initiator {
   public:
    explicit Initiator(Bus& bus);
    ~Initiator();
    Initiator(const Initiator&) = delete;
    Initiator& operator=(const Initiator&) = delete;

    // False if no device claims the whole access: then reads are all-ones and writes are dropped.
    bool read(uint64_t address, std::span<uint8_t> data);
    bool write(uint64_t address, std::span<const uint8_t> data);

   private:
    friend class Bus;
    class Use;
    Bus& bus_;
    std::atomic<const Table*> in_use_{nullptr};
  };

  Bus();
  // All regions and initiators are gone.
  ~Bus();
  Bus(const Bus&) = delete;
  Bus& operator=(const Bus&) = delete;

  // `device` is borrowed until the region is gone and no access is under way. An access goes to
  // the range of highest priority that holds all of it: a port of one byte inside a register of
  // four (0xcf9 in 0xcf8) has a higher priority than the register, which then still gets accesses
  // of four bytes.
  //
  // kBusy if a range of the same priority is in the way, kOutOfRange if the range wraps around:
  // a guest may ask for both. `size` is not zero. Any thread, also from within an access.
  Result<Region> map(uint64_t base, uint64_t size, BusDevice& device, int priority = 0);

  // False if some access that may have seen a region which is gone by now is still under way after
  // `limit`. Not from within an access.
  bool wait_for_accesses(std::chrono::milliseconds limit);

 private:
  struct Range;
  void unmap(uint64_t id);
  void publish(std::unique_ptr<const Table> table) REQUIRES(mutex_);
  void free_unused_tables() REQUIRES(mutex_);

  Mutex mutex_;  // of changes
  std::atomic<const Table*> table_{nullptr};
  std::unique_ptr<const Table> current_ GUARDED_BY(mutex_);               // what table_ points to
  std::vector<std::unique_ptr<const Table>> retired_ GUARDED_BY(mutex_);  // still in use somewhere
  std::vector<Initiator*> initiators_ GUARDED_BY(mutex_);
  uint64_t next_id_ GUARDED_BY(mutex_) = 1;
};

}  // namespace hull::devices
