// Streaming, where no request runs beside it: model_test.cc and change_crash_test.cc have the rest.
#include "blockcore/image/stream.h"

#include <gtest/gtest.h>

#include "blockcore/qcow2/edit/snapshots.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::MemoryDisk;
using testing::run_now;

constexpr uint64_t kStreamed = 1 << 20;

class Qcow2Stream : public ::testing::Test {
 protected:
  void SetUp() override {
    for (size_t i = 0; i < base_.size(); ++i) base_[i] = static_cast<uint8_t>(i % 251 + 1);
    auto opened = testing::open_qcow2(testing::make_qcow2({.size_bytes = kStreamed,
                                                           .cluster_bits = 12,
                                                           .backing_name = "base",
                                                           .backing_format = "raw"}));
    ASSERT_TRUE(opened) << opened.error().message();
    disk_ = *std::move(opened);
    auto backing = std::make_unique<MemoryDisk>(kStreamed);
    ASSERT_TRUE(testing::write_disk(*backing, 0, base_));
    disk_->set_backing(std::move(backing));
  }
  // How much of the disk is in its own clusters, from the beginning on.
  uint64_t own_bytes() {
    const auto status = run_now(disk_->block_status(0, kStreamed));
    return status && status->depth == 0 ? status->length : 0;
  }

  Bytes base_ = Bytes(kStreamed);
  std::unique_ptr<Qcow2Disk> disk_;
};

TEST_F(Qcow2Stream, GoesOnWhereItWasStopped) {
  unsigned steps = 0;
  StreamOptions options{.step_bytes = 64 << 10};
  options.may_go_on = [&steps] { return steps++ < 3; };

  const auto stopped = run_now(stream_backing(*disk_, options));
  ASSERT_TRUE(stopped) << stopped.error().message();
  EXPECT_FALSE(*stopped);
  EXPECT_EQ(own_bytes(), 192U << 10);
  EXPECT_EQ(disk_->header().backing_name, "base");

  std::vector<uint64_t> reports;
  options.may_go_on = {};
  options.progress = [&reports](uint64_t done, uint64_t) { reports.push_back(done); };
  const auto done = run_now(stream_backing(*disk_, options));
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_TRUE(*done);
  EXPECT_EQ(reports.size(), 16U);
  EXPECT_EQ(reports.back(), kStreamed);
  EXPECT_EQ(disk_->header().backing_name, "");
  EXPECT_EQ(testing::read_disk(*disk_).value(), base_);
}

TEST_F(Qcow2Stream, SnapshotsRefuseItBeforeAnythingIsCopied) {
  ASSERT_TRUE(run_now(create_snapshot(disk_->parts(), {.name = "one"})));

  const auto refused = run_now(stream_backing(*disk_, {}));

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind(), ErrorKind::kUnsupported);
  EXPECT_EQ(own_bytes(), 0U);
  EXPECT_EQ(disk_->header().backing_name, "base");
}

}  // namespace
}  // namespace hull::blockcore
