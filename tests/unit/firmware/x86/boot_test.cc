#include "firmware/x86/boot.h"

#include <algorithm>

#include "firmware/x86/layout.h"
#include "firmware/x86/linux_boot_params.h"
#include "tests/support/boot_images.h"

namespace hull::firmware {
namespace {

using testing::bzimage;
using testing::elf64;
using testing::Image;
using testing::peek;
using testing::source_of;

constexpr uint64_t kHeader = kBootParams.start;  // offsets in boot.rst count from here

class Boot : public ::testing::Test {
 protected:
  LoadedBoot load(const BootSource& source) {
    auto boot = load_boot(memory_, platform_, source);
    EXPECT_TRUE(boot.has_value()) << boot.error().message();
    return boot.has_value() ? *std::move(boot) : LoadedBoot{};
  }
  Error refused(const BootSource& source) {
    auto boot = load_boot(memory_, platform_, source);
    EXPECT_FALSE(boot.has_value());
    return boot.has_value() ? Error(ErrorKind::kInternal, "accepted") : boot.error();
  }
  bool has_device_tree(uint64_t address) { return peek(memory_, address, 4) == 0xedfe0dd0; }

  GuestMemory memory_ = testing::guest_memory(32);
  Platform platform_ = testing::platform();
};

TEST_F(Boot, BzImageEntersLongModeWithBootParams) {
  const LoadedBoot boot = load(source_of(bzimage()));
  EXPECT_EQ(boot.kind, "bzImage 2.12");
  EXPECT_EQ(boot.entry.mode, EntryMode::kLinux64);
  EXPECT_EQ(boot.entry.rip, testing::kBzImageAddress + 0x200);
  EXPECT_EQ(boot.entry.rsi, kBootParams.start);
  EXPECT_EQ(boot.entry.cr0, 0x80000011u);
  EXPECT_EQ(boot.entry.cr4, 0x20u);
  EXPECT_EQ(boot.entry.efer, 0x500u);
  EXPECT_EQ(boot.entry.rflags, 2u);
  EXPECT_EQ(boot.entry.code.selector, 0x10);
  EXPECT_TRUE(boot.entry.code.long_mode);
  EXPECT_FALSE(boot.entry.code.default_32);
  EXPECT_EQ(boot.entry.data.selector, 0x18);
}

TEST_F(Boot, LongModePageTablesMapTheFirstGigabyte) {
  const LoadedBoot boot = load(source_of(bzimage()));
  const uint64_t pdpt = peek(memory_, boot.entry.cr3, 8);
  EXPECT_EQ(pdpt & 0xfff, 3u);
  const uint64_t directory = peek(memory_, pdpt & ~0xfffull, 8);
  EXPECT_EQ(directory & 0xfff, 3u);
  EXPECT_EQ(peek(memory_, (directory & ~0xfffull), 8), 0x83u);
  EXPECT_EQ(peek(memory_, (directory & ~0xfffull) + 511 * 8, 8), 0x3fe00083u);
}

TEST_F(Boot, GdtHoldsTheDescriptorsOfTheEntryState) {
  const LoadedBoot boot = load(source_of(bzimage()));
  EXPECT_EQ(boot.entry.gdt_limit, 47);
  EXPECT_EQ(peek(memory_, boot.entry.gdt_base + 0x10, 8), 0x00af9b000000ffffu);
  EXPECT_EQ(peek(memory_, boot.entry.gdt_base + 0x18, 8), 0x00cf93000000ffffu);
  EXPECT_EQ(peek(memory_, boot.entry.gdt_base + 0x20, 8), 0x00008b0000000067u);
}

TEST_F(Boot, BootParamsCarryWhatTheKernelNeeds) {
  BootSource source = source_of(bzimage(), "console=ttyS0");
  const Image initrd(5000, std::byte{0x77});
  source.initrd = testing::file_of(initrd, "initrd");
  load(source);

  EXPECT_EQ(peek(memory_, kHeader + 0x070, 8), kTables.start + 16);  // acpi_rsdp_addr
  EXPECT_EQ(peek(memory_, kHeader + 0x1ef, 1), 0u);                  // sentinel
  EXPECT_EQ(peek(memory_, kHeader + 0x202, 4), kSetupMagic);
  EXPECT_EQ(peek(memory_, kHeader + 0x210, 1), 0xffu);  // type_of_loader
  EXPECT_EQ(peek(memory_, kHeader + 0x228, 4), kCommandLine.start);
  EXPECT_EQ(testing::peek_text(memory_, kCommandLine.start), "console=ttyS0");

  // The last page-aligned place in 32 MiB that holds 5000 bytes.
  EXPECT_EQ(peek(memory_, kHeader + 0x218, 4), 0x1ffe000u);
  EXPECT_EQ(peek(memory_, kHeader + 0x21c, 4), 5000u);
  EXPECT_EQ(peek(memory_, 0x1ffe000 + 4999, 1), 0x77u);
  EXPECT_EQ(peek(memory_, 0x1ffe000 + 5000, 1), 0u);
}

TEST_F(Boot, E820SplitsRamAroundTheHoleBelowOneMegabyte) {
  load(source_of(bzimage()));
  ASSERT_EQ(peek(memory_, kHeader + 0x1e8, 1), 3u);
  const uint64_t table = kHeader + 0x2d0;
  const uint64_t expected[3][3] = {
      {0, kLowRamEnd, 1}, {0xf0000, 0x10000, 2}, {0x100000, 31 << 20, 1}};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(peek(memory_, table + i * 20, 8), expected[i][0]);
    EXPECT_EQ(peek(memory_, table + i * 20 + 8, 8), expected[i][1]);
    EXPECT_EQ(peek(memory_, table + i * 20 + 16, 4), expected[i][2]);
  }
}

// A kernel that reads both would find each processor and each device twice.
TEST_F(Boot, BzImageWithAcpiGetsNoDeviceTree) {
  for (const char* cmdline : {"", "acpi=offline", "noacpi=off quiet", "acpi=on"}) {
    const LoadedBoot boot = load(source_of(bzimage(), cmdline));
    EXPECT_EQ(peek(memory_, kHeader + 0x250, 8), 0u) << cmdline;
    EXPECT_TRUE(boot.device_tree.empty());
  }
}

TEST_F(Boot, BzImageWithoutAcpiFindsTheDeviceTreeAsSetupData) {
  const LoadedBoot boot = load(source_of(bzimage(), "quiet acpi=off panic=1"));
  const uint64_t data = peek(memory_, kHeader + 0x250, 8);
  EXPECT_EQ(peek(memory_, data, 8), 0u);      // no further setup_data
  EXPECT_EQ(peek(memory_, data + 8, 4), 2u);  // SETUP_DTB
  EXPECT_EQ(peek(memory_, data + 12, 4), boot.device_tree.size());
  EXPECT_EQ(testing::peek_bytes(memory_, data + 16, boot.device_tree.size()), boot.device_tree);
  EXPECT_TRUE(has_device_tree(data + 16));
}

TEST_F(Boot, BareVmlinuxGetsBootParamsToo) {
  const LoadedBoot boot = load(source_of(elf64(false), "quiet"));
  EXPECT_EQ(boot.kind, "ELF");
  EXPECT_EQ(boot.entry.rip, 0x200010u);
  EXPECT_EQ(boot.entry.rsi, kBootParams.start);
  EXPECT_EQ(peek(memory_, kHeader + 0x1fe, 2), 0xaa55u);
  EXPECT_EQ(peek(memory_, kHeader + 0x228, 4), kCommandLine.start);
}

TEST_F(Boot, PvhEntersProtectedModeWithStartInfo) {
  const LoadedBoot boot = load(source_of(elf64(true), "a=b"));
  EXPECT_EQ(boot.kind, "PVH ELF");
  EXPECT_EQ(boot.entry.mode, EntryMode::kPvh32);
  EXPECT_EQ(boot.entry.rip, 0x200020u);
  EXPECT_EQ(boot.entry.cr0, 0x11u);
  EXPECT_EQ(boot.entry.cr3 | boot.entry.cr4 | boot.entry.efer, 0u);
  EXPECT_TRUE(boot.entry.code.default_32);
  EXPECT_FALSE(boot.entry.code.long_mode);

  const uint64_t info = boot.entry.rbx;
  EXPECT_EQ(peek(memory_, info, 4), 0x336ec578u);
  EXPECT_EQ(peek(memory_, info + 4, 4), 1u);
  EXPECT_EQ(peek(memory_, info + 12, 4), 0u);  // modules
  EXPECT_EQ(testing::peek_text(memory_, peek(memory_, info + 24, 8)), "a=b");
  EXPECT_EQ(peek(memory_, info + 32, 8), kTables.start + 16);  // RSDP
  const uint64_t map = peek(memory_, info + 40, 8);
  ASSERT_EQ(peek(memory_, info + 48, 4), 3u);
  EXPECT_EQ(peek(memory_, map + 48, 8), 0x100000u);
  EXPECT_EQ(peek(memory_, map + 56, 8), 31u << 20);
  EXPECT_EQ(peek(memory_, map + 64, 4), 1u);
  EXPECT_TRUE(boot.device_tree.empty());
}

TEST_F(Boot, PvhInitrdIsTheFirstModuleAndTheDeviceTreeTheLast) {
  BootSource source = source_of(elf64(true));
  const Image initrd(1, std::byte{0x77});
  source.initrd = testing::file_of(initrd, "initrd");
  source.device_tree_as_module = true;
  const LoadedBoot boot = load(source);
  ASSERT_EQ(peek(memory_, boot.entry.rbx + 12, 4), 2u);
  const uint64_t modules = peek(memory_, boot.entry.rbx + 16, 8);
  EXPECT_EQ(peek(memory_, peek(memory_, modules, 8), 1), 0x77u);
  EXPECT_EQ(peek(memory_, modules + 8, 8), 1u);
  EXPECT_TRUE(has_device_tree(peek(memory_, modules + 32, 8)));
  EXPECT_EQ(peek(memory_, modules + 40, 8), boot.device_tree.size());
}

TEST_F(Boot, StockPvhKernelSeesNoDeviceTreeModule) {
  BootSource source = source_of(elf64(true));
  source.return_device_tree = true;
  const LoadedBoot boot = load(source);
  EXPECT_FALSE(boot.device_tree.empty());
  EXPECT_EQ(peek(memory_, boot.entry.rbx + 12, 4), 0u);
}

TEST_F(Boot, SmallPvhBootTouchesFewPages) {
  BootSource source = source_of(elf64(true), "x");
  source.device_tree_as_module = true;
  load(source);
  size_t touched = 0;
  for (uint64_t page = 0; page < 0x100000; page += 4096) {
    const auto bytes = testing::peek_bytes(memory_, page, 4096);
    touched += std::ranges::any_of(bytes, [](uint8_t byte) { return byte != 0; });
  }
  EXPECT_EQ(touched, 3u);  // hand-over, device tree, tables
}

TEST_F(Boot, CommandLineLongerThanTheKernelTakesIsRefused) {
  load(source_of(bzimage(), std::string(2047, 'x')));
  const Error error = refused(source_of(bzimage(), std::string(2048, 'x')));
  EXPECT_EQ(error.kind(), ErrorKind::kInvalidConfig);
  EXPECT_NE(error.message().find("2047"), std::string::npos);
}

TEST_F(Boot, CommandLineIsBoundedWhateverTheHeaderClaims) {
  Image image = bzimage();
  testing::poke(image, 0x238, 0xffffffff, 4);
  load(source_of(image, std::string(kCommandLine.size() - 1, 'x')));
  const Error error = refused(source_of(image, std::string(kCommandLine.size(), 'x')));
  EXPECT_EQ(error.kind(), ErrorKind::kInvalidConfig);
}

TEST_F(Boot, InitrdLargerThanMemoryIsRefused) {
  BootSource source = source_of(bzimage());
  const Image initrd((16 << 20) - 0x10000);  // exactly what is left behind the kernel
  source.initrd = testing::file_of(initrd, "initrd");
  load(source);
  const Image larger((16 << 20) - 0x10000 + 1);
  source.initrd = testing::file_of(larger, "initrd");
  const Error error = refused(source);
  EXPECT_EQ(error.kind(), ErrorKind::kOutOfRange);
  EXPECT_EQ(error.message().find("initrd: "), 0u);
}

TEST_F(Boot, InitrdStaysBelowTheKernelsLimit) {
  Image image = bzimage();
  testing::poke(image, 0x22c, 0x17fffff, 4);
  BootSource source = source_of(image);
  const Image initrd(4096, std::byte{0x77});
  source.initrd = testing::file_of(initrd, "initrd");
  load(source);
  EXPECT_EQ(peek(memory_, kHeader + 0x218, 4), 0x17ff000u);
}

TEST_F(Boot, EmptyInitrdIsRefused) {
  BootSource source = source_of(bzimage());
  source.initrd = ImageSource::of_bytes({}, "initrd");
  EXPECT_EQ(refused(source).kind(), ErrorKind::kInvalidFormat);
}

TEST_F(Boot, FileThatIsNoKernelIsRefused) {
  for (const size_t size : {size_t{0}, size_t{3}, size_t{0x205}, size_t{0x206}, size_t{100000}}) {
    const Image image(size, std::byte{'x'});
    const Error error = refused(source_of(image));
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidFormat);
    EXPECT_EQ(error.message().find("kernel: neither an ELF file nor a bzImage"), 0u);
  }
}

TEST_F(Boot, MoreTablesThanRoomIsRefused) {
  platform_.apic_ids.resize(kMaxVcpus);
  for (uint32_t i = 0; i < kMaxVcpus; ++i) platform_.apic_ids[i] = i;
  platform_.online_vcpus = kMaxVcpus;
  load(source_of(bzimage()));
  while (platform_.virtio_mmio.size() < kMaxVirtioMmioSlots)
    platform_.virtio_mmio.push_back(platform_.virtio_mmio.front());
  EXPECT_EQ(refused(source_of(bzimage())).kind(), ErrorKind::kOutOfRange);
}

TEST_F(Boot, TooManyVcpusOrDevicesAreRefused) {
  platform_.virtio_mmio.resize(kMaxVirtioMmioSlots + 1);
  EXPECT_NE(refused(source_of(bzimage())).message().find("257 virtio-mmio"), std::string::npos);
  platform_ = testing::platform();
  platform_.apic_ids.resize(kMaxVcpus + 1);
  EXPECT_NE(refused(source_of(bzimage())).message().find("1025 vCPUs"), std::string::npos);
}

TEST_F(Boot, GuestOfLessThanOneMegabyteIsRefused) {
  const MemoryRegion range{GuestAddress{0}, 0x80000};
  const auto small = GuestMemory::create({&range, 1});
  ASSERT_TRUE(small.has_value());
  const auto boot = load_boot(*small, platform_, source_of(bzimage()));
  ASSERT_FALSE(boot.has_value());
  EXPECT_EQ(boot.error().kind(), ErrorKind::kOutOfRange);
}

}  // namespace
}  // namespace hull::firmware
