// Regions of the guest's memory: where they lie, what they are made of, who may touch them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <vector>

#include "base/guest_memory.h"
#include "tests/support/temporary_directory.h"

namespace hull {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kHugePage = 2 * kMiB;

UniqueFd file_with(const testing::TemporaryDirectory& directory, std::string_view text,
                   uint64_t size) {
  UniqueFd file = open_file(directory / "file", O_RDWR | O_CREAT).value();
  EXPECT_TRUE(write_all(file.get(), std::as_bytes(std::span(text))));
  EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(size)), 0);
  return file;
}

uint64_t host_address(const GuestMemory& memory, size_t index) {
  return reinterpret_cast<uintptr_t>(memory.region_slice(index).as_iovec().iov_base);
}

// Otherwise KVM could not map a huge page, whatever both sides are made of.
TEST(MemoryRegions, HostAndGuestAddressesAreCongruent) {
  const testing::TemporaryDirectory directory;
  const UniqueFd file = file_with(directory, "text", 4 * kMiB);
  const std::array<MemoryRegion, 6> regions = {{
      {GuestAddress{0}, 17 * kMiB},
      {GuestAddress{32 * kMiB + 0x5000}, 3 * kMiB},
      {.start = GuestAddress{64 * kMiB + 0x1ff000},
       .size_bytes = 5 * kMiB,
       .backing = MemoryBacking::kMemfd},
      {.start = GuestAddress{128 * kMiB + 0x3000},
       .size_bytes = 2 * kMiB,
       .backing = MemoryBacking::kPrivateFile,
       .file = file.get(),
       .file_offset = 0x1000},
      {.start = GuestAddress{0xfffc0000}, .size_bytes = 0x40000, .kind = MemoryKind::kRom},
      {GuestAddress{uint64_t{4} << 30}, 512 * kMiB},
  }};
  const GuestMemory memory = GuestMemory::create(regions).value();
  for (size_t i = 0; i < memory.region_count(); ++i)
    EXPECT_EQ(host_address(memory, i) % kHugePage, to_number(regions[i].start) % kHugePage) << i;
}

TEST(MemoryRegions, DevicesReachRamAlone) {
  constexpr uint64_t kSize = 0x4000;
  const std::array<MemoryRegion, 4> regions = {{
      {GuestAddress{0}, kSize},
      {.start = GuestAddress{0x10000}, .size_bytes = kSize, .kind = MemoryKind::kRom},
      {.start = GuestAddress{0x20000}, .size_bytes = kSize, .kind = MemoryKind::kFlash},
      {.start = GuestAddress{0x30000}, .size_bytes = kSize, .kind = MemoryKind::kDevice},
  }};
  const GuestMemory memory = GuestMemory::create(regions).value();
  EXPECT_TRUE(memory.slice(GuestAddress{0}, kSize));
  for (const uint64_t start : {0x10000ULL, 0x20000ULL, 0x30000ULL}) {
    EXPECT_FALSE(memory.slice(GuestAddress{start}, 1));
    EXPECT_FALSE(memory.slice(GuestAddress{start}, kSize));
    EXPECT_FALSE(memory.slice(GuestAddress{start}, 0));
  }
  EXPECT_EQ(memory.ram_bytes(), kSize);
  memory.region_slice(1).fill(7);
  EXPECT_EQ(memory.region_slice(1).subslice(kSize - 1, 1).read<uint8_t>(), 7);
}

TEST(MemoryRegions, MemfdIsTheMemory) {
  const MemoryRegion region{
      .start = GuestAddress{0}, .size_bytes = kMiB, .backing = MemoryBacking::kMemfd};
  const GuestMemory memory = GuestMemory::create({&region, 1}).value();
  memory.slice(GuestAddress{0x1000}, 1)->write<uint8_t>(0, 9);
  std::array<std::byte, 1> seen{};
  ASSERT_TRUE(read_exact_at(memory.region_fd(0), seen, 0x1000));
  EXPECT_EQ(seen[0], std::byte{9});
}

TEST(MemoryRegions, PrivateFileIsCopiedWhereItIsWritten) {
  const testing::TemporaryDirectory directory;
  UniqueFd file = file_with(directory, "firmware", 0x3000);
  const MemoryRegion region{.start = GuestAddress{0x100000},
                            .size_bytes = 0x2000,
                            .backing = MemoryBacking::kPrivateFile,
                            .file = file.get()};
  const GuestMemory memory = GuestMemory::create({&region, 1}).value();
  const GuestSlice slice = *memory.slice(GuestAddress{0x100000}, 1);
  EXPECT_EQ(slice.read<uint8_t>(), 'f');
  slice.write<uint8_t>(0, 'g');
  std::array<std::byte, 1> seen{};
  ASSERT_TRUE(read_exact_at(file.get(), seen, 0));
  EXPECT_EQ(seen[0], std::byte{'f'}) << "the file stays as it is";
  EXPECT_EQ(memory.region_fd(0), -1);
}

TEST(MemoryRegions, FileThatIsTooShortIsAnError) {
  const testing::TemporaryDirectory directory;
  const UniqueFd file = file_with(directory, "x", 0x1800);
  const auto create = [&](uint64_t size, uint64_t offset) {
    const MemoryRegion region{.start = GuestAddress{0},
                              .size_bytes = size,
                              .backing = MemoryBacking::kPrivateFile,
                              .file = file.get(),
                              .file_offset = offset};
    return GuestMemory::create({&region, 1}).has_value();
  };
  EXPECT_TRUE(create(0x2000, 0));
  EXPECT_FALSE(create(0x3000, 0));
  EXPECT_FALSE(create(0x2000, 0x1000));
  EXPECT_FALSE(create(0x1000, uint64_t{1} << 40));
}

}  // namespace
}  // namespace hull
