#include "firmware/x86/kernel.h"
#include "tests/support/boot_images.h"

namespace hull::firmware {
namespace {

using testing::bzimage;
using testing::Image;
using testing::poke;

class BzImage : public ::testing::Test {
 protected:
  Result<LoadedKernel> load(const Image& image) {
    return load_bzimage(memory_, map_, ImageSource::of_bytes(image, "kernel"));
  }
  // Loads an accepted image with `value` written at `offset`.
  Result<LoadedKernel> load_with(size_t offset, uint64_t value, size_t size) {
    Image image = bzimage();
    poke(image, offset, value, size);
    return load(image);
  }

  GuestMemory memory_ = testing::guest_memory(32);
  MemoryMap map_{memory_, testing::platform()};
};

TEST_F(BzImage, ValidHeaderLoadsAtPreferredAddress) {
  const auto kernel = load(bzimage());
  ASSERT_TRUE(kernel.has_value()) << kernel.error().message();
  EXPECT_EQ(kernel->entry, testing::kBzImageAddress + 0x200);
  EXPECT_EQ(kernel->end, testing::kBzImageAddress + 0x10000);
  EXPECT_EQ(kernel->initrd_limit, 0x80000000u);
  EXPECT_EQ(kernel->cmdline_limit, 2047u);
  EXPECT_EQ(testing::peek(memory_, testing::kBzImageAddress, 1), 0xccu);
  EXPECT_EQ(testing::peek(memory_, testing::kBzImageAddress + 4095, 1), 0xccu);
  EXPECT_EQ(testing::peek(memory_, testing::kBzImageAddress + 4096, 1), 0u);
}

TEST_F(BzImage, ZeroSetupSectsMeansFour) {
  Image image = bzimage();
  image.insert(image.begin() + 1024, 3 * 512, std::byte{0x11});
  poke(image, 0x1f1, 0, 1);
  ASSERT_TRUE(load(image).has_value());
  EXPECT_EQ(testing::peek(memory_, testing::kBzImageAddress, 1), 0xccu);
}

TEST_F(BzImage, BytesAfterSyssizeAreNotLoaded) {
  Image image = bzimage();
  image.resize(image.size() + 512, std::byte{0x55});
  ASSERT_TRUE(load(image).has_value());
  EXPECT_EQ(testing::peek(memory_, testing::kBzImageAddress + 4096, 1), 0u);
}

TEST_F(BzImage, LastParagraphMayBeShort) {
  Image image = bzimage();
  image.resize(image.size() - 15);
  EXPECT_TRUE(load(image).has_value());
}

TEST_F(BzImage, MissingLastParagraphIsRefused) {
  Image image = bzimage();
  image.resize(image.size() - 16);
  const auto kernel = load(image);
  ASSERT_FALSE(kernel.has_value());
  EXPECT_EQ(kernel.error().kind(), ErrorKind::kInvalidFormat);
  EXPECT_NE(kernel.error().message().find("0x1f4"), std::string::npos);
}

TEST_F(BzImage, HeaderEndingEarlyHidesLaterBytes) {
  Image image = bzimage();
  poke(image, 0x268, 0xdeadbeef, 4);
  const auto kernel = load(image);
  ASSERT_TRUE(kernel.has_value());
  EXPECT_EQ(kernel->header.later[0], 0);
}

TEST_F(BzImage, LongerHeaderIsHandedOn) {
  Image image = bzimage();
  poke(image, 0x201, 0x6a, 1);
  poke(image, 0x268, 0xdeadbeef, 4);
  const auto kernel = load(image);
  ASSERT_TRUE(kernel.has_value());
  EXPECT_EQ(kernel->header.later[0], 0xef);
  EXPECT_EQ(kernel->header.later[3], 0xde);
}

TEST_F(BzImage, InitSizeSmallerThanFileIsIgnored) {
  const auto kernel = load_with(0x260, 1, 4);
  ASSERT_TRUE(kernel.has_value());
  EXPECT_EQ(kernel->end, testing::kBzImageAddress + 4096);
}

TEST_F(BzImage, InitSizeMayReachTheEndOfRam) {
  EXPECT_TRUE(load_with(0x260, 16 << 20, 4).has_value());
  const auto kernel = load_with(0x260, (16 << 20) + 1, 4);
  ASSERT_FALSE(kernel.has_value());
  EXPECT_EQ(kernel.error().kind(), ErrorKind::kOutOfRange);
  EXPECT_NE(kernel.error().message().find("33 MiB"), std::string::npos);
}

struct Lie {
  const char* name;
  size_t offset;
  uint64_t value;
  size_t size;
  ErrorKind kind;
};

class BzImageLie : public BzImage, public ::testing::WithParamInterface<Lie> {};

TEST_P(BzImageLie, IsRefused) {
  const auto kernel = load_with(GetParam().offset, GetParam().value, GetParam().size);
  ASSERT_FALSE(kernel.has_value());
  EXPECT_EQ(kernel.error().kind(), GetParam().kind) << kernel.error().message();
  EXPECT_EQ(kernel.error().message().find('\n'), std::string::npos);
  // Nothing was loaded.
  EXPECT_EQ(testing::peek(memory_, testing::kBzImageAddress, 8), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BzImageLie,
    ::testing::Values(Lie{"SetupSectsPastEnd", 0x1f1, 0xff, 1, ErrorKind::kInvalidFormat},
                      Lie{"SyssizeZero", 0x1f4, 0, 4, ErrorKind::kInvalidFormat},
                      Lie{"SyssizeBeforeEntry", 0x1f4, 0x20, 4, ErrorKind::kInvalidFormat},
                      Lie{"SyssizeHuge", 0x1f4, 0xffffffff, 4, ErrorKind::kInvalidFormat},
                      Lie{"BootFlag", 0x1fe, 0x55aa, 2, ErrorKind::kInvalidFormat},
                      Lie{"HeaderTooShort", 0x201, 0x65, 1, ErrorKind::kInvalidFormat},
                      Lie{"OldVersion", 0x206, 0x020b, 2, ErrorKind::kUnsupported},
                      Lie{"LoadedLow", 0x211, 0, 1, ErrorKind::kUnsupported},
                      Lie{"No64BitEntry", 0x236, 0xfffe, 2, ErrorKind::kUnsupported},
                      Lie{"PrefAddressZero", 0x258, 0, 8, ErrorKind::kUnsupported},
                      Lie{"PrefAddressInTables", 0x258, 0xff000, 8, ErrorKind::kUnsupported},
                      Lie{"PrefAddressAtEndOfRam", 0x258, 0x1fff000, 8, ErrorKind::kOutOfRange},
                      Lie{"PrefAddressAboveRam", 0x258, 0x20000000, 8, ErrorKind::kOutOfRange},
                      Lie{"PrefAddressAboveMap", 0x258, 0x40000000, 8, ErrorKind::kUnsupported},
                      Lie{"PrefAddressWraps", 0x258, ~0ull, 8, ErrorKind::kUnsupported},
                      Lie{"InitSizeHuge", 0x260, 0xffffffff, 4, ErrorKind::kUnsupported}),
    [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace hull::firmware
