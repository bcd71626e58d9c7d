// hvm_start_info (Xen's x86/HVM direct boot ABI).
#include "firmware/guest/boot_info.h"

#include <cstring>

extern "C" uint32_t start_info_address;

namespace hull::guest {
namespace {

struct StartInfo {
  uint32_t magic;
  uint32_t version;
  uint32_t flags;
  uint32_t module_count;
  uint64_t modules;
  uint64_t command_line;
  uint64_t rsdp;
  uint64_t memory_map;  // version 1
  uint32_t memory_map_entries;
  uint32_t reserved;
};

struct Module {
  uint64_t address;
  uint64_t size;
  uint64_t command_line;
  uint64_t reserved;
};

struct MapEntry {
  uint64_t address;
  uint64_t size;
  uint32_t type;
  uint32_t reserved;
};

constexpr uint32_t kStartInfoMagic = 0x336ec578;
constexpr size_t kMaxCommandLine = 4096;
constexpr uint32_t kMaxModules = 16;

BootInfo info_;
char command_line_[kMaxCommandLine];

void copy_command_line(const char* text) {
  size_t size = 0;
  while (size < kMaxCommandLine && text[size] != 0) {
    command_line_[size] = text[size] == '\n' ? ' ' : text[size];
    size++;
  }
  info_.command_line = {command_line_, size};
}

// virtio_mmio.device=SIZE@BASE:IRQ, which QEMU appends for each device.
void read_mmio_words() {
  std::string_view rest = info_.command_line;
  std::string_view word;
  constexpr std::string_view kKey = "virtio_mmio.device=";
  while (split(rest, ' ', word)) {
    if (!word.starts_with(kKey)) continue;
    std::string_view value = drop(word, kKey.size());
    std::string_view size;
    std::string_view base;
    split(value, '@', size);
    split(value, ':', base);
    info_.add_mmio({to_number(base), to_number(size), static_cast<uint32_t>(to_number(value))});
  }
}

void read_memory_map(const StartInfo& start) {
  const auto* entries = reinterpret_cast<const MapEntry*>(start.memory_map);
  if (start.version < 1 || entries == nullptr) return;
  for (uint32_t i = 0; i < start.memory_map_entries && i < kMaxMemoryRanges; i++) {
    info_.memory[info_.memory_count++] = {entries[i].address, entries[i].size, entries[i].type};
  }
}

}  // namespace

void BootInfo::add_mmio(const MmioRegion& region) {
  for (const MmioRegion& known : mmio_regions()) {
    if (known.address == region.address) return;
  }
  if (mmio_count < kMaxMmioRegions) mmio[mmio_count++] = region;
}

std::string_view BootInfo::option(std::string_view key, std::string_view otherwise) const {
  std::string_view rest = command_line;
  std::string_view word;
  while (split(rest, ' ', word)) {
    std::string_view name;
    split(word, '=', name);
    if (name == key) return word;
  }
  return otherwise;
}

const BootInfo& boot_info() { return info_; }

void read_boot_info() {
  const auto& start =
      *reinterpret_cast<const StartInfo*>(static_cast<uint64_t>(start_info_address));
  if (start.magic != kStartInfoMagic) return;
  read_memory_map(start);
  if (start.command_line != 0) copy_command_line(reinterpret_cast<const char*>(start.command_line));
  const auto* modules = reinterpret_cast<const Module*>(start.modules);
  for (uint32_t i = 0; i < start.module_count && i < kMaxModules; i++) {
    read_fdt(modules[i].address, modules[i].size, info_);
  }
  read_mmio_words();
  if (start.rsdp != 0) read_acpi(start.rsdp, info_.acpi);
}

}  // namespace hull::guest
