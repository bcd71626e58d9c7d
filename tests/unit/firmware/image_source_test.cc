#include "firmware/image_source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "tests/support/boot_images.h"

namespace hull::firmware {
namespace {

using testing::Image;

const Image kBytes(10000, std::byte{0x42});

TEST(ImageSource, LoadCopiesFromFileAndFromMemory) {
  const GuestMemory memory = testing::guest_memory(1);
  const auto target = memory.slice(GuestAddress{0x1000}, 100);
  ASSERT_TRUE(target.has_value());
  EXPECT_TRUE(testing::file_of(kBytes, "file").load(9900, *target).has_value());
  EXPECT_EQ(testing::peek(memory, 0x1000 + 99, 1), 0x42u);
  target->fill(0);
  EXPECT_TRUE(ImageSource::of_bytes(kBytes, "bytes").load(9900, *target).has_value());
  EXPECT_EQ(testing::peek(memory, 0x1000 + 99, 1), 0x42u);
}

TEST(ImageSource, RangePastTheEndIsTruncated) {
  std::array<std::byte, 100> buffer;
  for (const ImageSource& source :
       {testing::file_of(kBytes, "file"), ImageSource::of_bytes(kBytes, "bytes")}) {
    EXPECT_TRUE(source.read(9900, buffer).has_value());
    for (const uint64_t offset : {uint64_t{9901}, uint64_t{20000}, ~uint64_t{0}}) {
      const auto result = source.read(offset, buffer);
      ASSERT_FALSE(result.has_value());
      EXPECT_EQ(result.error().kind(), ErrorKind::kInvalidFormat);
      EXPECT_NE(result.error().message().find("truncated"), std::string::npos);
    }
  }
}

TEST(ImageSource, FileThatShrankIsAnError) {
  UniqueFd fd(::memfd_create("shrinks", MFD_CLOEXEC));
  ASSERT_TRUE(write_all(fd.get(), kBytes).has_value());
  const int raw = fd.get();
  const auto source = ImageSource::from_fd(std::move(fd), "shrinks");
  ASSERT_TRUE(source.has_value());
  ASSERT_EQ(::ftruncate(raw, 50), 0);
  const GuestMemory memory = testing::guest_memory(1);
  const auto result = source->load(0, *memory.slice(GuestAddress{0}, 100));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().kind(), ErrorKind::kInvalidFormat);
}

TEST(ImageSource, MissingFileNamesThePath) {
  const auto source = ImageSource::open("/nonexistent/vmlinuz");
  ASSERT_FALSE(source.has_value());
  EXPECT_EQ(source.error().error_number(), ENOENT);
  EXPECT_NE(source.error().message().find("/nonexistent/vmlinuz"), std::string::npos);
}

TEST(ImageSource, DirectoryAndFifoAreRefusedWithoutWaiting) {
  char directory[] = "/tmp/hull-image-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  const std::string fifo = std::string(directory) + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path : {std::string(directory), fifo}) {
    const auto source = ImageSource::open(path);
    EXPECT_FALSE(source.has_value());
    if (source.has_value()) continue;
    EXPECT_EQ(source.error().kind(), ErrorKind::kInvalidFormat);
  }
  ::unlink(fifo.c_str());
  ::rmdir(directory);
}

}  // namespace
}  // namespace hull::firmware
