// facts: what this machine looks like from inside.
#include <cstring>

#include "firmware/guest/boot_info.h"
#include "firmware/guest/clock.h"
#include "firmware/guest/console.h"
#include "firmware/guest/memory.h"
#include "firmware/guest/program.h"
#include "firmware/guest/virtio_mmio.h"

namespace hull::guest {
namespace {

std::string_view signature(char (&text)[12], uint32_t a, uint32_t b, uint32_t c) {
  memcpy(text, &a, 4);
  memcpy(text + 4, &b, 4);
  memcpy(text + 8, &c, 4);
  size_t size = sizeof(text);
  while (size > 0 && text[size - 1] == 0) size--;
  return {text, size};
}

void print_cpu() {
  char vendor[12];
  char hypervisor[12];
  const CpuidResult basic = cpuid(0);
  const CpuidResult features = cpuid(1);
  const CpuidResult virtualised = cpuid(0x40000000);
  Line("facts.cpu")
      .text("vendor", signature(vendor, basic.ebx, basic.edx, basic.ecx))
      .hex("max-leaf", basic.eax)
      .hex("signature", features.eax)
      .number("apic-id", features.ebx >> 24)
      .number("in-vm", features.ecx >> 31)
      .text("hypervisor", signature(hypervisor, virtualised.ebx, virtualised.ecx, virtualised.edx))
      .hex("kvm-features", cpuid(0x40000001).eax)
      .number("tsc-khz", tsc_khz())
      .text("tsc-source", tsc_source());
}

void print_memory(const BootInfo& info) {
  uint64_t ram = 0;
  for (size_t i = 0; i < info.memory_count; i++) {
    const MemoryRange& range = info.memory[i];
    Line("facts.memory")
        .hex("address", range.address)
        .hex("size", range.size)
        .number("type", range.type);
    if (range.type == 1) ram += range.size;
  }
  Line("facts.ram").number("bytes", ram).number("free", free_memory());
}

void print_device(const MmioRegion& region) {
  MmioDevice device;
  device.look_at(region);
  Line line("facts.device");
  line.hex("address", region.address).number("gsi", region.gsi);
  if (!device.is_virtio()) {
    line.words("not virtio 1");
    return;
  }
  line.number("id", device.id());
  if (device.id() == 0) return;
  line.hex("features", device.device_features());
  if (device.id() == kBlockDevice) line.number("sectors", device.config64(0));
  if (device.id() != kNetDevice) return;
  uint64_t mac = 0;
  for (uint32_t i = 0; i < 6; i++) mac = (mac << 8) | device.config8(i);
  line.hex("mac", mac).number("status", device.config16(6)).number("mtu", device.config16(10));
}

Failure facts(const Args&) {
  const BootInfo& info = boot_info();
  Line("facts.boot")
      .number("fdt", info.fdt.found)
      .number("acpi", info.acpi.found)
      .number("fdt-cpus", info.fdt.cpus)
      .number("acpi-cpus", info.acpi.cpus)
      .hex("pm1a", info.acpi.pm1a_control_port)
      .number("s5", info.acpi.s5_sleep_type)
      .text("command-line", info.command_line);
  print_cpu();
  print_memory(info);
  for (const MmioRegion& region : info.mmio_regions()) print_device(region);
  return nullptr;
}

constexpr Program kPrograms[] = {{"facts", facts}};

}  // namespace

std::span<const Program> fact_programs() { return kPrograms; }

}  // namespace hull::guest
