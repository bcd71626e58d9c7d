// The PC around the virtio devices: the layout of its memory, interrupt controllers, ISA devices,
// what firmware leaves behind, and its processors at their first instruction.
//
// The calls come in the order in which they stand here, all from the event-loop thread. The order
// is KVM's: memory slots before the interrupt controller (afterwards they cost milliseconds on some
// hosts), that before interrupts, everything before the processors.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "base/guest_memory.h"
#include "base/timer_fd.h"
#include "config/domain.h"
#include "devices/acpi_pm.h"
#include "devices/bus.h"
#include "devices/rtc_cmos.h"
#include "devices/serial_16550.h"
#include "firmware/boot.h"
#include "firmware/x86/entry_state.h"
#include "firmware/x86/platform.h"
#include "vmm/interrupt_lines.h"
#include "vmm/kvm.h"
#include "vmm/x86/cpuid.h"

namespace hull::vmm::x86 {

class Board {
 public:
  struct Options {
    const config::DomainConfig& domain;
    const Kvm& kvm;
    Vm& vm;
    devices::Bus& ports;
    devices::PowerEvents& events;
    EventLoop& loop;  // runs the clock's alarms
    bool debug_exit_port;
  };

  // The firmware that the host has for guests without a kernel of their own.
  static Result<firmware::ImageSource> open_installed_bios();

  // RAM for a guest of `bytes`, and what `source` needs besides, ascending.
  static Result<std::vector<MemoryRegion>> memory_regions(uint64_t bytes,
                                                          const firmware::GuestSource& source);

  // All that `options` refers to outlives the board.
  explicit Board(const Options& options);
  ~Board();
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  Result<void> before_vcpus();
  Result<void> add_devices();

  // Where the next virtio-mmio device lies; kInvalidConfig if there is no interrupt left for it.
  struct VirtioSlot {
    uint64_t base;
    devices::InterruptLine* line;  // the board's
  };
  Result<VirtioSlot> add_virtio_slot(std::string_view name, uint32_t size_bytes);

  // Loads the kernel or the BIOS and describes to it everything that was added. Returns the device
  // tree if there is one. `memory` outlives the board.
  Result<std::vector<uint8_t>> load_boot(const GuestMemory& memory,
                                         const firmware::GuestSource& source);

  // After load_boot(): how many processors the machine has. A BIOS wakes all that there are.
  unsigned vcpu_count() const;

  // In the order of their indices, the boot processor first.
  Result<void> init_vcpu(Vcpu& vcpu);

  devices::Serial16550& serial() { return *serial_; }
  devices::AcpiPm& power() { return *power_; }

  // Interrupt controllers, timer, clock and ISA devices, in sections of their own. No vCPU runs.
  Result<void> save(StateWriter& out) const;
  Result<void> load(StateReader& in);
  // One section for each processor (vmm/x86/vcpu_state.h).
  Result<void> save_vcpu(const Vcpu& vcpu, StateWriter& out) const;
  Result<void> load_vcpu(Vcpu& vcpu, StateReader& in) const;
  // Of a processor that goes on after a pause: a guest with a kvmclock finds in it that it has
  // stood still, so that its watchdogs do not take that for a lock-up.
  static void say_it_stood_still(const Vcpu& vcpu);

 private:
  Result<devices::InterruptLine*> add_line(uint32_t gsi);
  Result<void> add_ports(uint64_t base, uint64_t count, devices::BusDevice& device);
  Result<void> add_device(std::unique_ptr<devices::BusDevice> device, uint64_t base,
                          uint64_t count);
  Result<void> add_serial();
  Result<void> add_power();
  Result<void> add_clock();
  Result<void> add_keyboard();
  Result<std::vector<uint8_t>> load(const GuestMemory& memory, const firmware::BootSource& kernel);
  Result<std::vector<uint8_t>> load(const GuestMemory& memory, const firmware::BiosSource& bios);
  Result<void> prepare_cpuid();

  class Alarm;

  const Options options_;
  firmware::Platform platform_;
  std::optional<firmware::EntryState> entry_;  // after load_boot(); none: as after a reset
  std::optional<CpuidTable> cpuid_;            // of all processors, after the first init_vcpu()

  std::vector<std::unique_ptr<devices::InterruptLine>> lines_;
  std::unique_ptr<devices::LevelInterruptLine> sci_;
  std::unique_ptr<Alarm> alarm_;
  std::unique_ptr<devices::Serial16550> serial_;
  std::unique_ptr<devices::AcpiPm> power_;
  std::unique_ptr<devices::RtcCmos> clock_;
  std::vector<std::unique_ptr<devices::BusDevice>> others_;
  std::vector<Stateful*> stateful_;  // of the devices above
  std::vector<devices::Bus::Region> regions_;
};

}  // namespace hull::vmm::x86
