#include "firmware/x86/bios.h"

#include <gtest/gtest.h>

#include "base/endian.h"
#include "firmware/acpi_header.h"
#include "firmware/table_bytes.h"

namespace hull::firmware {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

// Each page has its number.
std::vector<std::byte> image_of(size_t size_bytes) {
  std::vector<std::byte> image(size_bytes);
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<std::byte>(i >> 12);
  return image;
}

BiosSource source_of(std::span<const std::byte> image) {
  return {.image = ImageSource::of_bytes(image, "bios"),
          .boot_order = {},
          .menu_ms = {},
          .retry_ms = {}};
}

GuestMemory memory_with(const MemoryRegion& bios) {
  const MemoryRegion regions[] = {
      {GuestAddress{0}, 64 * kMiB}, bios, {GuestAddress{4 * kGiB}, kMiB}};
  return GuestMemory::create(regions).value();
}

Platform platform() {
  Platform platform;
  platform.apic_ids = {0, 1, 2};
  platform.online_vcpus = 2;
  platform.serial = SerialPort{};
  platform.power = AcpiPowerBlock{};
  platform.virtio_mmio = {{.base = GuestAddress{0xd0000000}, .name = "vda"},
                          {.base = GuestAddress{0xd0001000}, .name = "vdb"}};
  platform.reserved = {{GuestAddress{0xfeffc000}, 0x4000}};
  return platform;
}

template <class T>
T number(const std::vector<uint8_t>& bytes) {
  T value;
  EXPECT_EQ(bytes.size(), sizeof value);
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value;
}

TEST(Bios, EndsAt4GiBAndItsEndIsBelow1MiB) {
  const auto image = image_of(256 << 10);
  const auto source = source_of(image);
  const MemoryRegion region = bios_region(source.image).value();
  EXPECT_EQ(to_number(region.start), 0xfffc0000U);
  EXPECT_EQ(region.kind, MemoryKind::kRom);
  const GuestMemory memory = memory_with(region);
  ASSERT_TRUE(load_bios(memory, source.image));
  EXPECT_EQ(memory.region_slice(1).read<uint8_t>(0), 0);
  EXPECT_EQ(memory.region_slice(1).read<uint8_t>((256 << 10) - 1), 63);
  EXPECT_EQ(memory.slice(GuestAddress{0xe0000}, 1)->read<uint8_t>(), 32);
  EXPECT_EQ(memory.slice(GuestAddress{0xfffff}, 1)->read<uint8_t>(), 63);
  EXPECT_EQ(memory.slice(GuestAddress{0xdffff}, 1)->read<uint8_t>(), 0);
}

TEST(Bios, OtherSizesAreNotOne) {
  for (const size_t size :
       {size_t{0}, size_t{64} << 10, (size_t{128} << 10) + 1, size_t{17} << 20}) {
    const auto image = image_of(size);
    const auto region = bios_region(ImageSource::of_bytes(image, "small.bin"));
    ASSERT_FALSE(region) << size;
    EXPECT_TRUE(region.error().message().starts_with("small.bin: not a BIOS"));
  }
}

TEST(Bios, IsToldOfRamAndProcessors) {
  const auto image = image_of(128 << 10);
  const GuestMemory memory = memory_with(bios_region(source_of(image).image).value());
  auto told = bios_configuration(memory, platform(), source_of(image));
  EXPECT_EQ(number<Le16>(told.items[5]), 2) << "those that are there to be woken";
  EXPECT_EQ(number<Le16>(told.items[0x0f]), 2);
  // Entries of start, length and type: RAM as it is, and what is reserved; the BIOS is neither.
  std::string map;
  const auto& bytes = told.files["etc/e820"];
  ASSERT_EQ(bytes.size() % 20, 0U);
  for (size_t at = 0; at < bytes.size(); at += 20) {
    Le64 start, length;
    std::memcpy(&start, &bytes[at], 8);
    std::memcpy(&length, &bytes[at + 8], 8);
    map += fmt::format("{:x}+{:x}={} ", start.get(), length.get(), bytes[at + 16]);
  }
  EXPECT_EQ(map, "0+4000000=1 100000000+100000=1 feffc000+4000=2 ");
}

TEST(Bios, BootOrderHasWhatIsThereAndStopsBehindIt) {
  const auto image = image_of(128 << 10);
  const GuestMemory memory = memory_with(bios_region(source_of(image).image).value());
  BiosSource source = source_of(image);
  source.boot_order = {"vdb", "gone", "vda"};
  auto told = bios_configuration(memory, platform(), source);
  const auto& order = told.files["bootorder"];
  EXPECT_EQ(std::string(order.begin(), order.end()),
            std::string("/virtio-mmio@00000000d0001000/disk@0,0\n"
                        "/virtio-mmio@00000000d0000000/disk@0,0\nHALT\0",
                        83));
}

TEST(Bios, MenuConsoleAndRetryAreOptions) {
  const auto image = image_of(128 << 10);
  const GuestMemory memory = memory_with(bios_region(source_of(image).image).value());
  BiosSource source = source_of(image);
  auto told = bios_configuration(memory, platform(), source);
  EXPECT_EQ(number<Le64>(told.files["etc/sercon-port"]), 0x3f8U);
  EXPECT_EQ(number<Le16>(told.items[0x0e]), 0) << "no prompt, which would take 2.5 s";
  EXPECT_EQ(number<Le32>(told.files["etc/boot-fail-wait"]), UINT32_MAX) << "never";

  source.serial_console = false;
  source.menu_ms = 3000;
  source.retry_ms = 5000;
  told = bios_configuration(memory, platform(), source);
  EXPECT_FALSE(told.files.contains("etc/sercon-port"));
  EXPECT_EQ(number<Le16>(told.items[0x0e]), 1);
  EXPECT_EQ(number<Le32>(told.files["etc/boot-menu-wait"]), 3000U);
  EXPECT_EQ(number<Le32>(told.files["etc/boot-fail-wait"]), 5000U);
}

// Firmware places the tables itself, by a script whose names are those of files.
TEST(Bios, TablesComeWithTheirScript) {
  const auto image = image_of(128 << 10);
  const GuestMemory memory = memory_with(bios_region(source_of(image).image).value());
  auto told = bios_configuration(memory, platform(), source_of(image));
  const auto& script = told.files["etc/table-loader"];
  ASSERT_GT(script.size(), 128U);
  EXPECT_EQ(script.size() % 128, 0U);
  EXPECT_STREQ(reinterpret_cast<const char*>(&script[4]), "etc/acpi/tables");
  EXPECT_TRUE(told.files.contains("etc/acpi/tables"));
  const auto& rsdp = told.files["etc/acpi/rsdp"];
  EXPECT_EQ(std::string(rsdp.begin(), rsdp.begin() + 8), "RSD PTR ");
}

}  // namespace
}  // namespace hull::firmware
