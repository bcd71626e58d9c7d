#include "firmware/x86/kernel.h"
#include "tests/support/boot_images.h"

namespace hull::firmware {
namespace {

using testing::elf32;
using testing::elf64;
using testing::Image;
using testing::kElfAddress;
using testing::poke;

constexpr size_t kLoad = 0x40;  // program headers of elf64()
constexpr size_t kNoteHeader = 0x78;
constexpr size_t kNote = testing::kNoteOffset;

class ElfKernel : public ::testing::Test {
 protected:
  Result<LoadedKernel> load(const Image& image) {
    return load_elf(memory_, map_, ImageSource::of_bytes(image, "kernel"));
  }
  Result<LoadedKernel> load_with(size_t offset, uint64_t value, size_t size) {
    Image image = elf64(true);
    poke(image, offset, value, size);
    return load(image);
  }

  GuestMemory memory_ = testing::guest_memory(16);
  MemoryMap map_{memory_, testing::platform()};
};

TEST_F(ElfKernel, PvhNoteGivesProtectedModeEntry) {
  const auto kernel = load(elf64(true));
  ASSERT_TRUE(kernel.has_value()) << kernel.error().message();
  EXPECT_EQ(kernel->mode, EntryMode::kPvh32);
  EXPECT_EQ(kernel->entry, 0x200020u);
  EXPECT_EQ(kernel->end, kElfAddress + 4096);
  EXPECT_EQ(testing::peek(memory_, kElfAddress + 255, 1), 0xccu);
  EXPECT_EQ(testing::peek(memory_, kElfAddress + 256, 1), 0u);
}

TEST_F(ElfKernel, Class32WithNoteIsLoaded) {
  const auto kernel = load(elf32());
  ASSERT_TRUE(kernel.has_value()) << kernel.error().message();
  EXPECT_EQ(kernel->entry, 0x200020u);
  EXPECT_EQ(testing::peek(memory_, kElfAddress, 1), 0xccu);
}

TEST_F(ElfKernel, NoNoteGivesLongModeEntry) {
  const auto kernel = load(elf64(false));
  ASSERT_TRUE(kernel.has_value()) << kernel.error().message();
  EXPECT_EQ(kernel->mode, EntryMode::kLinux64);
  EXPECT_EQ(kernel->entry, 0x200010u);
  EXPECT_EQ(kernel->header.magic, kSetupMagic);
}

TEST_F(ElfKernel, ForeignNotesAreSkipped) {
  Image image = elf64(true);
  // A note of another type with 5 bytes, padded to 8, before the one that counts.
  std::memcpy(image.data() + kNote + 24, image.data() + kNote, 20);
  poke(image, kNote + 4, 5, 4);
  poke(image, kNote + 8, 1, 4);
  poke(image, kNoteHeader + 0x20, 44, 8);
  const auto kernel = load(image);
  ASSERT_TRUE(kernel.has_value());
  EXPECT_EQ(kernel->mode, EntryMode::kPvh32);
}

TEST_F(ElfKernel, NoteOfAnotherNameIsIgnored) {
  const auto kernel = load_with(kNote + 12, 0x006f6558, 4);
  ASSERT_TRUE(kernel.has_value());
  EXPECT_EQ(kernel->mode, EntryMode::kLinux64);
}

TEST_F(ElfKernel, NoteLongerThanItsSegmentIsIgnored) {
  for (const size_t field : {size_t{0}, size_t{4}}) {
    const auto kernel = load_with(kNote + field, 0xffffffff, 4);
    ASSERT_TRUE(kernel.has_value());
    EXPECT_EQ(kernel->mode, EntryMode::kLinux64);
  }
}

TEST_F(ElfKernel, EntryNoteOfOtherSizesIsRefused) {
  Image image = elf64(true);
  poke(image, kNoteHeader + 0x20, 32, 8);
  EXPECT_TRUE(load(image).has_value());
  for (const uint64_t size : {0u, 2u, 5u, 12u}) {
    poke(image, kNote + 4, size, 4);
    const auto kernel = load(image);
    ASSERT_FALSE(kernel.has_value());
    EXPECT_NE(kernel.error().message().find("PVH note at 0x100"), std::string::npos);
  }
}

TEST_F(ElfKernel, SharedObjectWithoutNoteIsRefused) {
  Image image = elf64(false);
  poke(image, 0x10, ET_DYN, 2);
  const auto kernel = load(image);
  ASSERT_FALSE(kernel.has_value());
  EXPECT_EQ(kernel.error().kind(), ErrorKind::kUnsupported);
}

TEST_F(ElfKernel, OverlappingSegmentsAreRefused) {
  Image image = elf64(true);
  std::memcpy(image.data() + kNoteHeader, image.data() + kLoad, 56);
  poke(image, kNoteHeader + 0x18, kElfAddress + 4095, 8);
  const auto kernel = load(image);
  ASSERT_FALSE(kernel.has_value());
  EXPECT_NE(kernel.error().message().find("overlap"), std::string::npos);
}

TEST_F(ElfKernel, EveryTruncationIsRefused) {
  const Image whole = elf64(true);
  for (size_t size = 0; size < whole.size(); ++size) {
    const Image image(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto kernel = load(image);
    ASSERT_FALSE(kernel.has_value()) << size;
    EXPECT_EQ(kernel.error().kind(), ErrorKind::kInvalidFormat) << size;
  }
}

struct HeaderLie {
  const char* name;
  size_t offset;
  uint64_t value;
  size_t size;
  ErrorKind kind;
};

class ElfKernelLie : public ElfKernel, public ::testing::WithParamInterface<HeaderLie> {};

TEST_P(ElfKernelLie, IsRefused) {
  const auto kernel = load_with(GetParam().offset, GetParam().value, GetParam().size);
  ASSERT_FALSE(kernel.has_value());
  EXPECT_EQ(kernel.error().kind(), GetParam().kind) << kernel.error().message();
  EXPECT_EQ(kernel.error().message().find('\n'), std::string::npos);
  EXPECT_EQ(testing::peek(memory_, kElfAddress, 8), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, ElfKernelLie,
    ::testing::Values(
        HeaderLie{"Class", 0x4, 3, 1, ErrorKind::kInvalidFormat},
        HeaderLie{"BigEndian", 0x5, 2, 1, ErrorKind::kUnsupported},
        HeaderLie{"Version", 0x6, 0, 1, ErrorKind::kUnsupported},
        HeaderLie{"Machine", 0x12, 183, 2, ErrorKind::kUnsupported},
        HeaderLie{"HeadersPastEnd", 0x20, 0x300, 8, ErrorKind::kInvalidFormat},
        HeaderLie{"HeadersWrap", 0x20, ~0ull, 8, ErrorKind::kInvalidFormat},
        HeaderLie{"HeaderSize", 0x36, 32, 2, ErrorKind::kInvalidFormat},
        HeaderLie{"NoHeaders", 0x38, 0, 2, ErrorKind::kInvalidFormat},
        HeaderLie{"TooManyHeaders", 0x38, 65, 2, ErrorKind::kInvalidFormat},
        HeaderLie{"ExtendedCount", 0x38, 0xffff, 2, ErrorKind::kInvalidFormat},
        HeaderLie{"NothingToLoad", kLoad, PT_NULL, 4, ErrorKind::kInvalidFormat},
        HeaderLie{"SegmentOffsetPastEnd", kLoad + 0x08, 0x301, 8, ErrorKind::kInvalidFormat},
        HeaderLie{"SegmentOffsetWraps", kLoad + 0x08, ~0ull, 8, ErrorKind::kInvalidFormat},
        HeaderLie{"SegmentInTables", kLoad + 0x18, 0xff000, 8, ErrorKind::kUnsupported},
        HeaderLie{"SegmentAtEndOfRam", kLoad + 0x18, 0xfff001, 8, ErrorKind::kOutOfRange},
        HeaderLie{"SegmentAddressWraps", kLoad + 0x18, ~0ull, 8, ErrorKind::kOutOfRange},
        HeaderLie{"FileLongerThanMemory", kLoad + 0x20, 0x2000, 8, ErrorKind::kInvalidFormat},
        HeaderLie{"MemoryHuge", kLoad + 0x28, ~0ull, 8, ErrorKind::kOutOfRange},
        HeaderLie{"EntryOutside", kNote + 16, 0x201000, 4, ErrorKind::kInvalidFormat},
        HeaderLie{"NotesPastEnd", kNoteHeader + 0x08, 0x2f0, 8, ErrorKind::kInvalidFormat},
        HeaderLie{"NotesHuge", kNoteHeader + 0x20, 0x10001, 8, ErrorKind::kInvalidFormat},
        HeaderLie{"NotesSizeWraps", kNoteHeader + 0x20, ~0ull, 8, ErrorKind::kInvalidFormat}),
    [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace hull::firmware
