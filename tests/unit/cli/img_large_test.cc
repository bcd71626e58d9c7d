// Images whose files have more clusters than a counter each could be had for: 2^28 and more. The
// files are sparse; what lies in them lies far out.
#include <fcntl.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/unique_fd.h"
#include "blockcore/qcow2/format/format.h"
#include "tests/support/img_fixture.h"

namespace hull::testing {
namespace {

constexpr uint64_t kFar = (uint64_t{1} << 40) + 8192;  // host offset; in clusters of 4 KiB > 2^28
constexpr uint64_t kFileBytes = uint64_t{1100} << 30;

class ImgLarge : public ImgFixture {
 protected:
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }

  // Guest cluster 0 is at kFar, which no refcount block describes; the file is kFileBytes long.
  void make_image() const {
    ASSERT_EQ(qemu_img("create -q -f qcow2 -o cluster_size=4k @a 2T").exit_code, 0);
    ASSERT_EQ(run_command("qemu-io -c 'write -q -P 0x5a 0 8k' " + path("a")).exit_code, 0);
    const UniqueFd fd(::open(path("a").c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::ftruncate(fd.get(), kFileBytes), 0);
    const uint64_t l2 = word_at(fd, word_at(fd, 40)) & qcow2_offset();
    const uint64_t data = word_at(fd, l2) & qcow2_offset();
    std::vector<char> cluster(4096);
    ASSERT_EQ(::pread(fd.get(), cluster.data(), 4096, static_cast<off_t>(data)), 4096);
    ASSERT_EQ(::pwrite(fd.get(), cluster.data(), 4096, static_cast<off_t>(kFar)), 4096);
    const Be64 entry = kFar | blockcore::qcow2::kCopiedFlag;
    ASSERT_EQ(::pwrite(fd.get(), &entry, sizeof entry, static_cast<off_t>(l2)), 8);
  }
  static uint64_t qcow2_offset() { return blockcore::qcow2::kOffsetMask; }
  static uint64_t word_at(const UniqueFd& fd, uint64_t offset) {
    Be64 word{};
    if (::pread(fd.get(), &word, sizeof word, static_cast<off_t>(offset)) != sizeof word) return 0;
    return word;
  }
  void mark_dirty() const {
    const UniqueFd fd(::open(path("a").c_str(), O_RDWR | O_CLOEXEC));
    const uint8_t dirty = 1;
    ASSERT_EQ(::pwrite(fd.get(), &dirty, 1, 79), 1);
  }
  void expect_contents() const {
    const auto read = run_command("qemu-io -r -f qcow2 -c 'read -P 0x5a 0 8k' " + path("a"));
    EXPECT_EQ(read.exit_code, 0) << read.output;
    EXPECT_EQ(read.output.find("failed"), std::string::npos) << read.output;
  }
};

TEST_F(ImgLarge, AreCheckedAndRepairedAsQemuDoes) {
  if (!have_qemu_img()) GTEST_SKIP();
  make_image();
  EXPECT_EQ(hull_img("check @a").exit_code, 2);
  EXPECT_EQ(qemu_img("check @a").exit_code, 2);
  EXPECT_EQ(hull_img("check -r all @a").exit_code, 0);
  expect_same("check @a");
  expect_contents();
}

TEST_F(ImgLarge, OpenForWritingAfterACrash) {
  if (!have_qemu_img()) GTEST_SKIP();
  make_image();
  mark_dirty();
  EXPECT_EQ(hull_img("bench -w -c 4 -o 1048576 -f qcow2 @a").exit_code, 0);
  expect_same("check @a");
  expect_contents();
}

TEST_F(ImgLarge, AreAmendedSnapshottedAndCompacted) {
  if (!have_qemu_img()) GTEST_SKIP();
  make_image();
  ASSERT_EQ(hull_img("check -r all @a").exit_code, 0);
  EXPECT_EQ(hull_img("amend -o refcount_bits=8 @a").exit_code, 0);
  expect_same("check @a");
  EXPECT_EQ(hull_img("snapshot -c s @a").exit_code, 0);
  EXPECT_EQ(hull_img("snapshot -d s @a").exit_code, 0);
  EXPECT_EQ(hull_img("compact @a").exit_code, 0);
  expect_same("check @a");
  expect_contents();
  // The L1 table has 8 MiB.
  EXPECT_LT(load_file(path("a")).size(), size_t{9} << 20);
}

}  // namespace
}  // namespace hull::testing
