#include "firmware/x86/boot.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "firmware/x86/device_tree.h"
#include "firmware/x86/firmware_tables.h"
#include "firmware/x86/kernel.h"
#include "firmware/x86/layout.h"
#include "firmware/x86/linux_boot_params.h"
#include "firmware/x86/low_memory.h"
#include "firmware/x86/memory_map.h"
#include "firmware/x86/pvh_start_info.h"
#include "firmware/x86/table_area.h"

namespace hull::firmware {

namespace {

Result<void> check_machine(const GuestMemory& memory, const Platform& platform) {
  if (platform.apic_ids.size() > kMaxVcpus)
    return fail(ErrorKind::kOutOfRange, "{} vCPUs; the limit is {}", platform.apic_ids.size(),
                kMaxVcpus);
  if (platform.virtio_mmio.size() > kMaxVirtioMmioSlots)
    return fail(ErrorKind::kOutOfRange, "{} virtio-mmio devices; the limit is {}",
                platform.virtio_mmio.size(), kMaxVirtioMmioSlots);
  if (!memory.slice(GuestAddress{0}, kKernelMin))
    return fail(ErrorKind::kOutOfRange, "the guest has less than 1 MiB of memory");
  CHECK(platform.online_vcpus >= 1 && platform.online_vcpus <= platform.apic_ids.size());
  CHECK(std::ranges::is_sorted(platform.apic_ids));
  return {};
}

Result<LoadedKernel> load_kernel(const GuestMemory& memory, const MemoryMap& map,
                                 const ImageSource& image) {
  constexpr uint64_t kMagicOffset = 0x202;
  Le32 magic{};
  const auto magic_bytes = std::as_writable_bytes(std::span(&magic, 1));
  if (image.size() >= sizeof magic) {
    TRY(image.read(0, magic_bytes));
    if (magic == 0x464c457f) return load_elf(memory, map, image);  // "\x7fELF"
  }
  if (image.size() >= kMagicOffset + sizeof magic) {
    TRY(image.read(kMagicOffset, magic_bytes));
    if (magic == kSetupMagic) return load_bzimage(memory, map, image);
  }
  return fail(ErrorKind::kInvalidFormat,
              "neither an ELF file nor a bzImage (no \"HdrS\" at 0x202); is it a kernel?");
}

Result<LayoutRange> load_initrd(const GuestMemory& memory, const MemoryMap& map,
                                const LoadedKernel& kernel, const ImageSource& initrd) {
  const uint64_t size = initrd.size();
  if (size == 0) return fail(ErrorKind::kInvalidFormat, "the file is empty");
  const uint64_t limit = std::min<uint64_t>(kernel.initrd_limit, 1ull << 32);
  const auto start = map.place_high(size, kernel.end, limit);
  if (!start)
    return fail(ErrorKind::kOutOfRange,
                "{} bytes do not fit into guest RAM between the kernel's end at {:#x} and {:#x}",
                size, kernel.end, limit);
  const auto target = memory.slice(GuestAddress{*start}, size);
  CHECK(target.has_value());
  TRY(initrd.load(0, *target));
  return LayoutRange{*start, *start + size};
}

Result<void> write_command_line(const GuestMemory& memory, const LoadedKernel& kernel,
                                const std::string& cmdline) {
  const uint64_t limit = std::min<uint64_t>(kernel.cmdline_limit, kCommandLine.size() - 1);
  if (cmdline.size() > limit)
    return fail(ErrorKind::kInvalidConfig, "the command line has {} bytes; this kernel takes {}",
                cmdline.size(), limit);
  const GuestSlice target = low_memory(memory, kCommandLine);
  target.copy_from({reinterpret_cast<const uint8_t*>(cmdline.data()), cmdline.size()});
  target.write(cmdline.size(), uint8_t{0});
  return {};
}

// Puts struct setup_data and the tree behind it; a PVH guest gets the address of the tree alone.
Result<LayoutRange> write_device_tree(const GuestMemory& memory, const std::vector<uint8_t>& tree) {
  struct SetupData {
    Le64 next;
    Le32 type;
    Le32 length;
  };
  static_assert(sizeof(SetupData) == 16);  // keeps the tree 8-byte aligned
  if (sizeof(SetupData) + tree.size() > kDeviceTree.size())
    return fail(ErrorKind::kOutOfRange, "a device tree of {} bytes does not fit below 1 MiB",
                tree.size());
  const GuestSlice target = low_memory(memory, kDeviceTree);
  target.write(0, SetupData{0, kSetupDataDeviceTree, static_cast<uint32_t>(tree.size())});
  target.subslice(sizeof(SetupData), tree.size()).copy_from(tree);
  const uint64_t start = kDeviceTree.start + sizeof(SetupData);
  return LayoutRange{start, start + tree.size()};
}

bool has_word(std::string_view text, std::string_view word) {
  for (size_t at = 0; (at = text.find(word, at)) != std::string_view::npos; ++at) {
    const size_t end = at + word.size();
    if ((at == 0 || text[at - 1] == ' ') && (end == text.size() || text[end] == ' ')) return true;
  }
  return false;
}

// What the kernel is handed besides its command line.
struct HandOver {
  uint64_t rsdp;
  std::optional<LayoutRange> initrd;
  std::optional<LayoutRange> device_tree;
};

EntryState enter_linux(const GuestMemory& memory, const MemoryMap& map, const LoadedKernel& kernel,
                       const HandOver& given) {
  SetupHeader header = kernel.header;
  header.type_of_loader = kUnregisteredLoader;
  header.cmd_line_ptr = static_cast<uint32_t>(kCommandLine.start);
  header.ramdisk_image = given.initrd ? static_cast<uint32_t>(given.initrd->start) : 0;
  header.ramdisk_size = given.initrd ? static_cast<uint32_t>(given.initrd->size()) : 0;
  header.setup_data = given.device_tree ? kDeviceTree.start : 0;
  write_boot_params(memory, header, map, given.rsdp);
  return enter_linux64(memory, kernel.entry, kBootParams.start);
}

EntryState enter_pvh(const GuestMemory& memory, const MemoryMap& map, const LoadedKernel& kernel,
                     const HandOver& given) {
  std::array<LayoutRange, 2> modules;
  size_t count = 0;
  if (given.initrd) modules[count++] = *given.initrd;
  if (given.device_tree) modules[count++] = *given.device_tree;
  write_start_info(memory, map, std::span(modules).first(count), given.rsdp);
  return enter_pvh32(memory, static_cast<uint32_t>(kernel.entry),
                     static_cast<uint32_t>(kStartInfo.start));
}

}  // namespace

Result<LoadedBoot> load_boot(const GuestMemory& memory, const Platform& platform,
                             const BootSource& source) {
  TRY(check_machine(memory, platform));
  const MemoryMap map(memory, platform);
  LoadedKernel kernel =
      TRY(load_kernel(memory, map, source.kernel).with_context(source.kernel.name()));
  TRY(write_command_line(memory, kernel, source.cmdline));

  HandOver given{};
  given.rsdp = TRY(write_firmware_tables(memory, platform));
  if (source.initrd)
    given.initrd =
        TRY(load_initrd(memory, map, kernel, *source.initrd).with_context(source.initrd->name()));

  LoadedBoot boot{};
  const bool is_linux = kernel.mode == EntryMode::kLinux64;
  const bool wants_tree =
      is_linux ? has_word(source.cmdline, "acpi=off") : source.device_tree_as_module;
  if (wants_tree || source.return_device_tree)
    boot.device_tree = build_device_tree(memory, platform, source.cmdline, given.initrd);
  if (wants_tree) given.device_tree = TRY(write_device_tree(memory, boot.device_tree));

  boot.kind = std::move(kernel.kind);
  boot.entry =
      is_linux ? enter_linux(memory, map, kernel, given) : enter_pvh(memory, map, kernel, given);
  return boot;
}

}  // namespace hull::firmware
