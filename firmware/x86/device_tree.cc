#include "firmware/x86/device_tree.h"

#include <fmt/core.h>

#include "firmware/fdt_writer.h"

namespace hull::firmware {

namespace {

constexpr uint32_t kIoApicHandle = 1;
constexpr uint32_t kEdgeRising = 0;
constexpr uint32_t kLevelHigh = 2;
constexpr uint32_t kIsaIoSpace = 1;  // first cell of an ISA address

void add_chosen(FdtWriter& fdt, const Platform& platform, std::string_view cmdline,
                std::optional<LayoutRange> initrd) {
  const auto node = fdt.node("chosen");
  fdt.text("bootargs", cmdline);
  if (initrd) {
    fdt.u64("linux,initrd-start", {initrd->start});
    fdt.u64("linux,initrd-end", {initrd->end});
  }
  if (platform.serial)
    fdt.text("stdout-path", fmt::format("/isa/serial@1,{:x}", platform.serial->port));
}

void add_memory(FdtWriter& fdt, const GuestMemory& memory) {
  for (size_t i = 0; i < memory.region_count(); ++i) {
    const MemoryRegion& range = memory.region(i);
    if (range.kind != MemoryKind::kRam) continue;
    const auto node = fdt.node(fmt::format("memory@{:x}", to_number(range.start)));
    fdt.text("device_type", "memory");
    fdt.u64("reg", {to_number(range.start), range.size_bytes});
  }
}

void add_processors(FdtWriter& fdt, const Platform& platform) {
  const auto cpus = fdt.node("cpus");
  fdt.cells("#address-cells", {1});
  fdt.cells("#size-cells", {0});
  for (size_t i = 0; i < platform.online_vcpus; ++i) {
    const auto node = fdt.node(fmt::format("cpu@{:x}", platform.apic_ids[i]));
    fdt.text("device_type", "cpu");
    fdt.cells("reg", {platform.apic_ids[i]});
  }
}

void add_interrupt_controllers(FdtWriter& fdt, const Platform& platform) {
  {
    const auto node =
        fdt.node(fmt::format("interrupt-controller@{:x}", to_number(platform.io_apic)));
    fdt.text("compatible", "intel,ce4100-ioapic");
    fdt.empty("interrupt-controller");
    fdt.cells("#interrupt-cells", {2});
    fdt.cells("#address-cells", {0});
    fdt.u64("reg", {to_number(platform.io_apic), 0x1000});
    fdt.cells("phandle", {kIoApicHandle});
  }
  const auto node = fdt.node(fmt::format("local-apic@{:x}", to_number(platform.local_apic)));
  fdt.text("compatible", "intel,ce4100-lapic");
  fdt.u64("reg", {to_number(platform.local_apic), 0x1000});
}

void add_virtio_mmio(FdtWriter& fdt, const VirtioMmioSlot& slot) {
  const auto node = fdt.node(fmt::format("virtio_mmio@{:x}", to_number(slot.base)));
  fdt.text("compatible", "virtio,mmio");
  fdt.u64("reg", {to_number(slot.base), slot.size_bytes});
  fdt.cells("interrupts", {slot.gsi, kEdgeRising});
  if (!slot.name.empty()) fdt.text("label", slot.name);
}

void add_serial(FdtWriter& fdt, const SerialPort& serial) {
  const auto node = fdt.node(fmt::format("serial@1,{:x}", serial.port));
  fdt.text("device_type", "serial");
  fdt.text("compatible", "ns16550a");
  fdt.cells("reg", {kIsaIoSpace, serial.port, 8});
  fdt.cells("interrupts", {serial.gsi, kEdgeRising});
  fdt.cells("clock-frequency", {1843200});
  fdt.cells("current-speed", {115200});
}

void add_clock(FdtWriter& fdt, const RealTimeClock& rtc) {
  const auto node = fdt.node("rtc@1,70");
  fdt.text("compatible", "motorola,mc146818");
  fdt.cells("reg", {kIsaIoSpace, 0x70, 2});
  if (rtc.gsi != 0) fdt.cells("interrupts", {rtc.gsi, kEdgeRising});
}

// Power and reset have no binding for x86 ports: these two nodes are hull's own. The registers are
// PM1a event, then PM1a control.
void add_power(FdtWriter& fdt, const AcpiPowerBlock& power) {
  const auto node = fdt.node(fmt::format("power@1,{:x}", power.event_port));
  fdt.text("compatible", "hull,acpi-pm1");
  fdt.cells("reg", {kIsaIoSpace, power.event_port, 4, kIsaIoSpace, power.control_port, 2});
  fdt.cells("interrupts", {power.sci_gsi, kLevelHigh});
  fdt.cells("s5-sleep-type", {power.s5_sleep_type});
}

void add_reset(FdtWriter& fdt, const ResetRegister& reset) {
  const auto node = fdt.node(fmt::format("reset@1,{:x}", reset.port));
  fdt.text("compatible", "hull,reset-port");
  fdt.cells("reg", {kIsaIoSpace, reset.port, 1});
  fdt.cells("value", {reset.value});
}

void add_isa(FdtWriter& fdt, const Platform& platform) {
  const auto isa = fdt.node("isa");
  fdt.text("compatible", "isa");
  fdt.text("device_type", "isa");
  fdt.cells("#address-cells", {2});
  fdt.cells("#size-cells", {1});
  fdt.cells("ranges", {kIsaIoSpace, 0, 0, 0, 0x10000});
  if (platform.serial) add_serial(fdt, *platform.serial);
  if (platform.rtc) add_clock(fdt, *platform.rtc);
  if (platform.power) add_power(fdt, *platform.power);
  if (platform.reset) add_reset(fdt, *platform.reset);
}

}  // namespace

std::vector<uint8_t> build_device_tree(const GuestMemory& memory, const Platform& platform,
                                       std::string_view cmdline,
                                       std::optional<LayoutRange> initrd) {
  constexpr size_t kFixed = 4096, kPerVcpu = 128, kPerSlot = 256, kPerRegion = 128;
  FdtWriter fdt(kFixed + platform.online_vcpus * kPerVcpu + platform.virtio_mmio.size() * kPerSlot +
                memory.region_count() * kPerRegion + cmdline.size());
  {
    const auto root = fdt.node("");
    fdt.text("model", "hull");
    fdt.text("compatible", "hull,microvm");
    fdt.cells("#address-cells", {2});
    fdt.cells("#size-cells", {2});
    fdt.cells("interrupt-parent", {kIoApicHandle});
    add_chosen(fdt, platform, cmdline, initrd);
    add_memory(fdt, memory);
    add_processors(fdt, platform);
    add_interrupt_controllers(fdt, platform);
    for (const VirtioMmioSlot& slot : platform.virtio_mmio) add_virtio_mmio(fdt, slot);
    add_isa(fdt, platform);
  }
  return std::move(fdt).finish();
}

}  // namespace hull::firmware
