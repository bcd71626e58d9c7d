// copy_disk with copies that the kernel makes, and that fail half-way.
#include "blockcore/image/copy.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "blockcore/file/local_file.h"
#include "blockcore/raw_disk.h"
#include "tests/support/faulty_engine.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

// More than one chunk of either kind, and no whole sector at the end.
constexpr size_t kBytes = (66 << 20) + 100;
constexpr size_t kZerosBegin = 3 << 20;
constexpr size_t kZerosEnd = 9 << 20;

class OffloadedCopy : public ::testing::Test {
 protected:
  void SetUp() override {
    // No period of a power of two.
    for (size_t i = 0; i < kBytes; ++i) bytes_[i] = static_cast<uint8_t>(i ^ i / 251);
    std::fill(bytes_.begin() + kZerosBegin, bytes_.begin() + kZerosEnd, uint8_t{0});
    testing::save_file(directory_ / "source", bytes_);
    testing::save_file(directory_ / "target", {});
    bytes_.resize((kBytes + 511) / 512 * 512);
  }

  Result<void> copy(CopyOptions options = {}) {
    auto source_file = LocalFile::open(*engine_, directory_ / "source", {.read_only = true});
    auto target_file = LocalFile::open(*engine_, directory_ / "target", {});
    EXPECT_TRUE((*target_file)->extend_to(bytes_.size()));
    RawDisk source(*std::move(source_file));
    RawDisk target(*std::move(target_file));
    options.length = source.size_bytes();
    options.target_is_zero = true;
    options.offload = true;
    options.look_for_zeros = false;
    options.in_order = true;
    options.chunks_in_flight = 3;
    options.progress = [this](uint64_t done) { progress_ = done; };
    TRY(engine_->run_until_done(copy_disk(source, target, std::move(options))));
    return engine_->run_until_done(target.close());
  }
  void expect_copied() {
    EXPECT_TRUE(testing::load_file(directory_ / "target") == bytes_);
    EXPECT_EQ(progress_, bytes_.size());
  }

  const testing::TemporaryDirectory directory_;
  const std::unique_ptr<testing::FaultyEngine> engine_ = testing::FaultyEngine::create();
  testing::Bytes bytes_ = testing::Bytes(kBytes);
  uint64_t progress_ = 0;
};

TEST_F(OffloadedCopy, TargetHoldsTheSource) {
  ASSERT_TRUE(copy());
  EXPECT_NE(engine_->copies, 0U);
  expect_copied();
}

TEST_F(OffloadedCopy, ShortCopiesAreContinued) {
  engine_->max_copy_bytes = 1000001;
  ASSERT_TRUE(copy());
  EXPECT_GE(engine_->copies, 60U);
  expect_copied();
}

TEST_F(OffloadedCopy, WhereTheHostRefusesItIsNotAskedAgain) {
  engine_->fail_copies_from = 1;
  for (const int error : {EOPNOTSUPP, EXDEV, EINVAL, ENOSYS}) {
    engine_->copies = 0;
    engine_->copy_error = error;
    ASSERT_TRUE(copy());
    EXPECT_LE(engine_->copies, 2U);  // there are two chunks
    expect_copied();
  }
}

TEST_F(OffloadedCopy, RefusalInTheMiddleIsNoHarm) {
  engine_->max_copy_bytes = 1 << 20;
  engine_->fail_copies_from = 20;
  engine_->copy_error = EXDEV;
  ASSERT_TRUE(copy());
  expect_copied();
}

TEST_F(OffloadedCopy, WhatCannotBeCopiedIsReadAndWritten) {
  engine_->max_copy_bytes = 1 << 20;
  engine_->fail_copies_from = 20;
  ASSERT_TRUE(copy());
  EXPECT_GT(engine_->copies, 21U);
  expect_copied();
}

TEST_F(OffloadedCopy, RateIsKeptInSmallSteps) {
  ASSERT_TRUE(copy({.bytes_per_second = uint64_t{1} << 40}));
  EXPECT_GE(engine_->copies, 30U);
  expect_copied();
}

TEST_F(OffloadedCopy, ErrorsSayWhichSideFailed) {
  auto file = LocalFile::open(*engine_, directory_ / "source", {.read_only = true});
  RawDisk source(*std::move(file));
  testing::MemoryDisk target(bytes_.size());
  target.error = ENOSPC;
  CopyOptions options{.length = source.size_bytes(), .chunks_in_flight = 2};
  options.offload = true;
  const auto copied = engine_->run_until_done(copy_disk(source, target, std::move(options)));
  ASSERT_FALSE(copied);
  EXPECT_NE(copied.error().message().find("error while writing at byte"), std::string::npos)
      << copied.error().message();
}

}  // namespace
}  // namespace hull::blockcore
