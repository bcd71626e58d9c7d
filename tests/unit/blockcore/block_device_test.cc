// LocalFile over a block device: a loop device, so root and losetup are needed; else skipped.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "blockcore/file/local_file.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

constexpr uint64_t kDeviceBytes = 1 << 20;

class BlockDevice : public ::testing::TestWithParam<CacheMode> {
 protected:
  void SetUp() override {
    const UniqueFd fd = open_file(backing_, O_RDWR | O_CREAT).value();
    model_.assign(kDeviceBytes, 0x5a);
    ASSERT_TRUE(write_all(fd.get(), std::as_bytes(std::span(model_))));
    FILE* const output = ::popen(("losetup -f --show '" + backing_ + "' 2>/dev/null").c_str(), "r");
    char line[64] = {};
    if (output == nullptr || ::fgets(line, sizeof line, output) == nullptr) line[0] = '\0';
    if (output != nullptr) ::pclose(output);
    device_ = line;
    if (device_.empty()) GTEST_SKIP() << "no loop device can be had here";
    device_.pop_back();
    file_ = LocalFile::open(*engine_, device_, {.cache = GetParam()}).value();
  }
  void TearDown() override {
    file_.reset();
    if (device_.empty()) return;
    EXPECT_EQ(std::system(("losetup -d " + device_).c_str()), 0);
  }
  void expect_contents() {
    std::vector<uint8_t> data(kDeviceBytes);
    const iovec buffer{data.data(), data.size()};
    ASSERT_TRUE(engine_->run_until_done(file_->read(0, {&buffer, 1})));
    EXPECT_TRUE(data == model_);
  }

  testing::TemporaryDirectory directory_;
  const std::string backing_ = directory_ / "backing";
  std::string device_;
  std::vector<uint8_t> model_;
  std::unique_ptr<IoEngine> engine_ = IoEngine::create().value();
  std::unique_ptr<LocalFile> file_;
};

TEST_P(BlockDevice, FactsAreThoseOfTheDevice) {
  EXPECT_TRUE(file_->is_block_device());
  EXPECT_EQ(file_->size_bytes(), kDeviceBytes);
  EXPECT_FALSE(file_->cut_to(4096));
  EXPECT_FALSE(file_->extend_to(file_->size_bytes() + 1));
  EXPECT_TRUE(file_->extend_to(4096));
}

TEST_P(BlockDevice, ReadOnlyDeviceIsNotOpenedForWriting) {
  file_.reset();
  ASSERT_EQ(std::system(("blockdev --setro " + device_).c_str()), 0);
  const auto opened = LocalFile::open(*engine_, device_, {.cache = GetParam()});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().error_number(), EACCES);
  EXPECT_NE(opened.error().message().find("not writable"), std::string::npos);
  file_ = LocalFile::open(*engine_, device_, {.cache = GetParam(), .read_only = true}).value();
  expect_contents();
  // The device keeps it for whoever has it next.
  EXPECT_EQ(std::system(("blockdev --setrw " + device_).c_str()), 0);
}

TEST_P(BlockDevice, MisalignedZeroesWritesAndDiscardsArrive) {
  for (const bool may_unmap : {false, true}) {
    const uint64_t offset = may_unmap ? 100 : 300001;
    ASSERT_TRUE(engine_->run_until_done(file_->write_zeroes(offset, 100000, may_unmap)));
    std::fill_n(model_.begin() + static_cast<ptrdiff_t>(offset), 100000, uint8_t{0});
  }
  const iovec buffer{model_.data() + 5, 9999};
  std::fill_n(model_.begin() + 5, 9999, uint8_t{7});
  ASSERT_TRUE(engine_->run_until_done(file_->write(5, {&buffer, 1})));
  ASSERT_TRUE(engine_->run_until_done(file_->flush()));
  expect_contents();
  EXPECT_TRUE(engine_->run_until_done(file_->discard(1, kDeviceBytes - 1)));
}

TEST_P(BlockDevice, WritePastTheEndIsRefused) {
  uint8_t byte = 1;
  const iovec buffer{&byte, 1};
  const auto written = engine_->run_until_done(file_->write(kDeviceBytes, {&buffer, 1}));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind(), ErrorKind::kOutOfRange);
}

std::string name_of(const ::testing::TestParamInfo<CacheMode>& test) {
  return test.param == CacheMode::kNone ? "direct" : "cached";
}

INSTANTIATE_TEST_SUITE_P(CacheModes, BlockDevice,
                         ::testing::Values(CacheMode::kWriteback, CacheMode::kNone), name_of);

}  // namespace
}  // namespace hull::blockcore
