#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "blockcore/file/local_file.h"
#include "blockcore/raw_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::run_now;

constexpr uint64_t kCluster = 64 << 10;

BlockStatus status_at(Disk& disk, uint64_t offset) {
  return run_now(disk.block_status(offset, disk.size_bytes() - offset)).value();
}

std::unique_ptr<Qcow2Disk> empty_disk(uint64_t clusters) {
  return testing::open_qcow2(testing::make_qcow2({.size_bytes = clusters * kCluster})).value();
}

class BlockStatusOfFile : public ::testing::Test {
 protected:
  std::unique_ptr<RawDisk> open_raw(uint64_t data_bytes, uint64_t size_bytes) {
    path_ = directory_ / "raw";
    const UniqueFd fd = open_file(path_, O_RDWR | O_CREAT).value();
    EXPECT_TRUE(write_all(fd.get(), std::vector<std::byte>(data_bytes, std::byte{1})));
    EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size_bytes)), 0);
    return std::make_unique<RawDisk>(LocalFile::open(*engine_, path_, {.read_only = true}).value());
  }

  testing::TemporaryDirectory directory_;
  std::string path_;
  const std::unique_ptr<IoEngine> engine_ = IoEngine::create(IoEngineKind::kThreads).value();
};

TEST_F(BlockStatusOfFile, RawDataIsStoredWhereItIs) {
  const auto disk = open_raw(1 << 20, 4 << 20);
  const BlockStatus status = status_at(*disk, 4096);
  EXPECT_TRUE(status.data && status.present);
  EXPECT_FALSE(status.zero);
  EXPECT_EQ(status.length, (1U << 20) - 4096);
  EXPECT_EQ(status.host_offset, 4096);
  EXPECT_EQ(status.path, path_);
}

TEST_F(BlockStatusOfFile, RawHoleReadsAsZeros) {
  const auto disk = open_raw(1 << 20, 4 << 20);
  const BlockStatus status = status_at(*disk, 1 << 20);
  EXPECT_TRUE(status.zero && status.present);
  EXPECT_FALSE(status.data);
  EXPECT_EQ(status.length, 3U << 20);
}

TEST_F(BlockStatusOfFile, RawLastSectorBelongsToTheDataBeforeIt) {
  const auto disk = open_raw(1000, 1000);
  EXPECT_EQ(status_at(*disk, 0).length, 1024U);
  EXPECT_TRUE(status_at(*disk, 512).data);
}

TEST_F(BlockStatusOfFile, PreallocatedClusterIsZeroData) {
  const std::string path = directory_ / "qcow2";
  auto file = LocalFile::open(*engine_, path, {.create = true}).value();
  Qcow2CreateOptions options{.size_bytes = 1 << 20, .preallocation = Preallocation::kMetadata};
  ASSERT_TRUE(engine_->run_until_done(create_qcow2(*file, options)));
  const auto disk = engine_->run_until_done(Qcow2Disk::open(std::move(file), {})).value();
  const BlockStatus status = engine_->run_until_done(disk->block_status(0, 1 << 20)).value();
  EXPECT_TRUE(status.zero && status.data && status.present);
  EXPECT_EQ(status.length, 1U << 20);
}

TEST(BlockStatusOfQcow2, UnwrittenIsZeroAndNotPresent) {
  const auto disk = empty_disk(4);
  const BlockStatus status = status_at(*disk, kCluster);
  EXPECT_EQ(status.length, 3 * kCluster);
  EXPECT_TRUE(status.zero);
  EXPECT_FALSE(status.data || status.present || status.host_offset.has_value());
}

TEST(BlockStatusOfQcow2, DataEndsWhereTheMappingChanges) {
  const auto disk = empty_disk(4);
  ASSERT_TRUE(testing::write_disk(*disk, kCluster, Bytes(2 * kCluster, 1)));
  const BlockStatus status = status_at(*disk, kCluster + 512);
  EXPECT_EQ(status.length, 2 * kCluster - 512);
  EXPECT_TRUE(status.data && status.present);
  EXPECT_FALSE(status.zero);
  EXPECT_EQ(status.path, "memory");
  EXPECT_EQ(status.host_offset.value_or(0) % kCluster, 512U);
}

TEST(BlockStatusOfQcow2, ZeroClusterIsPresentWithoutData) {
  const auto disk = empty_disk(2);
  disk->set_backing(empty_disk(2));
  ASSERT_TRUE(run_now(disk->write_zeroes(0, kCluster, true)));
  const BlockStatus status = status_at(*disk, 0);
  EXPECT_EQ(status.length, kCluster);
  EXPECT_TRUE(status.zero && status.present);
  EXPECT_FALSE(status.data || status.host_offset.has_value());
}

TEST(BlockStatusOfQcow2, DepthCountsTheLayers) {
  auto base = empty_disk(2);
  ASSERT_TRUE(testing::write_disk(*base, 0, Bytes(kCluster, 1)));
  auto middle = empty_disk(3);
  middle->set_backing(std::move(base));
  const auto top = empty_disk(4);
  top->set_backing(std::move(middle));
  EXPECT_EQ(status_at(*top, 0).depth, 2U);
  EXPECT_TRUE(status_at(*top, 0).data);
  EXPECT_EQ(status_at(*top, 0).length, kCluster);
  // Past the end of a backing disk nobody is asked any more.
  EXPECT_EQ(status_at(*top, kCluster).depth, 2U);
  EXPECT_EQ(status_at(*top, 2 * kCluster).depth, 1U);
  EXPECT_EQ(status_at(*top, 3 * kCluster).depth, 0U);
  EXPECT_FALSE(status_at(*top, 3 * kCluster).present);
}

}  // namespace
}  // namespace hull::blockcore
