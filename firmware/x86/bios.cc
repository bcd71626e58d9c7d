#include "firmware/x86/bios.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/checked.h"
#include "base/endian.h"
#include "firmware/acpi_blobs.h"
#include "firmware/table_bytes.h"
#include "firmware/x86/acpi.h"
#include "firmware/x86/layout.h"

namespace hull::firmware {

namespace {

constexpr uint64_t kImageEnd = uint64_t{1} << 32;
// What the processor can reach in real mode: the last segment of the first MiB and the one below.
constexpr LayoutRange kShadow{0xe0000, 0x100000};

// Numbered items.
constexpr uint16_t kProcessors = 0x05;
constexpr uint16_t kBootMenu = 0x0e;
constexpr uint16_t kMaxProcessors = 0x0f;

template <class T>
std::vector<uint8_t> as_bytes(const T& value) {
  const auto bytes = bytes_of(value);
  return {bytes.begin(), bytes.end()};
}

std::vector<uint8_t> as_bytes(const std::string& text) { return {text.begin(), text.end()}; }

struct E820Entry {
  Le64 start;
  Le64 size_bytes;
  Le32 type;
};
static_assert(sizeof(E820Entry) == 20);
constexpr uint32_t kE820Ram = 1;
constexpr uint32_t kE820Reserved = 2;

// All RAM, also what lies below 1 MiB: of that the BIOS takes its part by itself.
std::vector<uint8_t> memory_map(const GuestMemory& memory, const Platform& platform) {
  std::vector<uint8_t> map;
  const auto add = [&map](uint64_t start, uint64_t size_bytes, uint32_t type) {
    const E820Entry entry{start, size_bytes, type};
    const auto bytes = bytes_of(entry);
    map.insert(map.end(), bytes.begin(), bytes.end());
  };
  for (size_t i = 0; i < memory.region_count(); ++i) {
    const MemoryRegion& region = memory.region(i);
    if (region.kind == MemoryKind::kRam) add(to_number(region.start), region.size_bytes, kE820Ram);
  }
  for (const GuestRange& range : platform.reserved)
    add(to_number(range.start), range.size_bytes, kE820Reserved);
  return map;
}

// A line for each device, as Open Firmware would call it; HALT keeps all others from being tried.
std::vector<uint8_t> boot_order(const Platform& platform, const std::vector<std::string>& names) {
  std::string lines;
  for (const std::string& name : names) {
    const auto slot = std::ranges::find(platform.virtio_mmio, name, &VirtioMmioSlot::name);
    if (slot == platform.virtio_mmio.end()) continue;
    lines += fmt::format("/virtio-mmio@{:016x}/disk@0,0\n", to_number(slot->base));
  }
  lines += "HALT";
  lines += '\0';
  return as_bytes(lines);
}

void add_acpi(const Platform& platform, BiosConfiguration& configuration) {
  AcpiBlobs acpi = build_acpi(platform);
  configuration.files["etc/table-loader"] = to_table_loader(acpi);
  for (AcpiBlob& blob : acpi.blobs) configuration.files[blob.name] = std::move(blob.bytes);
}

Result<bool> is_seabios(const ImageSource& image) {
  if (image.size() > kMaxBiosBytes) return false;
  std::string bytes(image.size(), '\0');
  TRY(image.read(0, std::as_writable_bytes(std::span(bytes))));
  return bytes.find("SeaBIOS") != std::string::npos;
}

}  // namespace

Result<ImageSource> open_installed_bios() {
  // Of Debian and Fedora; a file of the second name may also be qboot, which starts no disks.
  for (const char* path :
       {"/usr/share/seabios/bios-microvm.bin", "/usr/share/qemu/bios-microvm.bin"}) {
    auto image = ImageSource::open(path);
    if (image && TRY(is_seabios(*image))) return image;
  }
  return fail(ErrorKind::kHost,
              "no BIOS that could start the guest from its disk: install the package seabios, or "
              "name a kernel (--kernel FILE, <os><kernel>)");
}

Result<MemoryRegion> bios_region(const ImageSource& image) {
  if (image.size() < kShadow.size() || image.size() > kMaxBiosBytes || image.size() % 4096 != 0)
    return fail(ErrorKind::kInvalidFormat,
                "{}: not a BIOS: {} bytes, where 128 KiB to {} MiB in whole pages are expected",
                image.name(), image.size(), kMaxBiosBytes >> 20);
  return MemoryRegion{.start = GuestAddress{kImageEnd - image.size()},
                      .size_bytes = image.size(),
                      .kind = MemoryKind::kRom};
}

Result<void> load_bios(const GuestMemory& memory, const ImageSource& image) {
  size_t index = 0;
  while (index < memory.region_count() && memory.region(index).kind != MemoryKind::kRom) ++index;
  CHECK(index < memory.region_count() && memory.region(index).size_bytes == image.size());
  TRY(image.load(0, memory.region_slice(index)));
  const auto shadow = memory.slice(GuestAddress{kShadow.start}, kShadow.size());
  if (!shadow)
    return fail(ErrorKind::kOutOfRange, "the guest has less than 1 MiB of memory for its BIOS");
  return image.load(image.size() - kShadow.size(), *shadow);
}

BiosConfiguration bios_configuration(const GuestMemory& memory, const Platform& platform,
                                     const BiosSource& source) {
  BiosConfiguration configuration;
  configuration.items[kProcessors] = as_bytes(Le16(static_cast<uint16_t>(platform.online_vcpus)));
  // It waits for as many processors as there are; it is not told of others.
  configuration.items[kMaxProcessors] = configuration.items[kProcessors];
  configuration.items[kBootMenu] = as_bytes(Le16(source.menu_ms ? 1 : 0));
  auto& files = configuration.files;
  files["etc/e820"] = memory_map(memory, platform);
  files["bootorder"] = boot_order(platform, source.boot_order);
  files["etc/boot-fail-wait"] = as_bytes(Le32(source.retry_ms.value_or(UINT32_MAX)));
  if (source.menu_ms) files["etc/boot-menu-wait"] = as_bytes(Le32(*source.menu_ms));
  if (source.serial_console && platform.serial)
    files["etc/sercon-port"] = as_bytes(Le64(platform.serial->port));
  add_acpi(platform, configuration);
  return configuration;
}

}  // namespace hull::firmware
