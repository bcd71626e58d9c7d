#include "virtio/block_request.h"

#include <gtest/gtest.h>

#include "base/endian.h"
#include "tests/support/fake_driver.h"
#include "virtio/queue.h"

namespace hull::virtio {
namespace {

using testing::Access;
using testing::Buffer;
using testing::FakeDriver;

constexpr uint64_t kHeaderAddress = 0x8000;
constexpr uint64_t kRanges = 0x9000;
constexpr uint64_t kBuffer = 0x10000;
constexpr uint64_t kStatusAddress = 0xa000;

class BlockRequestTest : public ::testing::Test {
 protected:
  ~BlockRequestTest() override { finish(); }
  void finish() {
    if (chain_) queue_.complete(*std::move(chain_), 0);
    chain_.reset();
    driver_.pop_used();
  }
  void write_header(uint32_t type, uint64_t sector) {
    const GuestSlice slice = memory_.slice(GuestAddress{kHeaderAddress}, 16).value();
    slice.write(0, Le32(type));
    slice.write(4, Le32(0));
    slice.write(8, Le64(sector));
  }
  void write_range(unsigned index, uint64_t sector, uint32_t sectors, uint32_t flags) {
    const GuestSlice slice = memory_.slice(GuestAddress{kRanges + 16 * index}, 16).value();
    slice.write(0, Le64(sector));
    slice.write(8, Le32(sectors));
    slice.write(12, Le32(flags));
  }
  void parse(std::initializer_list<Buffer> buffers) {
    driver_.add(buffers);
    chain_.emplace(*queue_.pop().value());
    request_.parse(*chain_, limits_);
  }
  void parse_transfer(uint32_t type, uint64_t sector, uint32_t bytes) {
    write_header(type, sector);
    parse({{GuestAddress{kHeaderAddress}, 16, Access::kRead},
           {GuestAddress{kBuffer}, bytes, type == 0 ? Access::kWrite : Access::kRead},
           {GuestAddress{kStatusAddress}, 1, Access::kWrite}});
  }
  void parse_ranges(uint32_t type, uint32_t count) {
    write_header(type, 0);
    parse({{GuestAddress{kHeaderAddress}, 16, Access::kRead},
           {GuestAddress{kRanges}, 16 * count, Access::kRead},
           {GuestAddress{kStatusAddress}, 1, Access::kWrite}});
  }
  void expect_refused(BlockStatus status) {
    EXPECT_EQ(request_.operation, BlockOperation::kNothing);
    EXPECT_EQ(request_.status, status);
    EXPECT_TRUE(request_.status_byte.has_value());
    EXPECT_EQ(request_.written_bytes(request_.status), 1U);
  }

  GuestMemory memory_ = testing::make_memory(1 << 20);
  FakeDriver driver_{memory_, GuestAddress{0x1000}, 8};
  Queue queue_ = Queue::create(driver_.config(), memory_).value();
  BlockLimits limits_{.capacity_sectors = 100,
                      .discard = true,
                      .write_zeroes = true,
                      .max_range_sectors = 50,
                      .max_ranges = 2};
  std::optional<Chain> chain_;
  BlockRequest request_;
};

TEST_F(BlockRequestTest, ReadIsUnderstood) {
  parse_transfer(0, 3, 1024);
  EXPECT_EQ(request_.operation, BlockOperation::kRead);
  EXPECT_EQ(request_.offset, 1536U);
  EXPECT_EQ(request_.length, 1024U);
  ASSERT_EQ(request_.buffers.size(), 1U);
  EXPECT_EQ(request_.buffers[0].iov_len, 1024U);
  EXPECT_EQ(request_.written_bytes(BlockStatus::kOk), 1025U);
  EXPECT_EQ(request_.written_bytes(BlockStatus::kIoError), 1U);
}

TEST_F(BlockRequestTest, WriteIsUnderstood) {
  parse_transfer(1, 99, 512);
  EXPECT_EQ(request_.operation, BlockOperation::kWrite);
  EXPECT_EQ(request_.offset, 99U * 512);
  EXPECT_EQ(request_.written_bytes(BlockStatus::kOk), 1U);
}

TEST_F(BlockRequestTest, HeaderDataAndStatusInOneBufferEachOrSplitAnywhereAreTheSame) {
  write_header(0, 1);
  parse({{GuestAddress{kHeaderAddress}, 5, Access::kRead},
         {GuestAddress{kHeaderAddress + 5}, 11, Access::kRead},
         {GuestAddress{kBuffer}, 500, Access::kWrite},
         {GuestAddress{kBuffer + 500}, 13, Access::kWrite}});
  EXPECT_EQ(request_.operation, BlockOperation::kRead);
  EXPECT_EQ(request_.length, 512U);
  ASSERT_EQ(request_.buffers.size(), 2U);
  EXPECT_EQ(request_.buffers[1].iov_len, 12U);
  EXPECT_EQ(request_.status_byte->remaining(), 1U);
}

TEST_F(BlockRequestTest, RequestThatEndsPastTheDiskIsRefused) {
  parse_transfer(1, 99, 1024);
  expect_refused(BlockStatus::kIoError);
}

TEST_F(BlockRequestTest, RequestThatStartsPastTheDiskIsRefused) {
  parse_transfer(0, 101, 512);
  expect_refused(BlockStatus::kIoError);
}

TEST_F(BlockRequestTest, SectorThatOverflowsWhenMultipliedIsRefused) {
  parse_transfer(1, (UINT64_MAX >> 9) + 2, 512);
  expect_refused(BlockStatus::kIoError);
}

TEST_F(BlockRequestTest, SectorAtTheEndOfTheNumbersIsRefused) {
  parse_transfer(0, UINT64_MAX, 512);
  expect_refused(BlockStatus::kIoError);
}

TEST_F(BlockRequestTest, LengthThatIsNoMultipleOfASectorIsRefused) {
  parse_transfer(0, 0, 513);
  expect_refused(BlockStatus::kIoError);
}

TEST_F(BlockRequestTest, EmptyTransferIsDoneAtOnce) {
  parse_transfer(0, 0, 0);
  EXPECT_EQ(request_.operation, BlockOperation::kNothing);
  EXPECT_EQ(request_.status, BlockStatus::kOk);
}

TEST_F(BlockRequestTest, ReadOnlyDiskRefusesEveryChangeAndNothingElse) {
  limits_.read_only = true;
  for (const uint32_t type : {1U, 11U, 13U}) {
    write_range(0, 0, 1, 0);
    parse_ranges(type, 1);
    expect_refused(BlockStatus::kIoError);
    finish();
  }
  parse_transfer(0, 0, 512);
  EXPECT_EQ(request_.operation, BlockOperation::kRead);
}

TEST_F(BlockRequestTest, FlushIsUnderstoodOnReadOnlyDisksToo) {
  limits_.read_only = true;
  write_header(4, 0);
  parse({{GuestAddress{kHeaderAddress}, 16, Access::kRead},
         {GuestAddress{kStatusAddress}, 1, Access::kWrite}});
  EXPECT_EQ(request_.operation, BlockOperation::kFlush);
}

TEST_F(BlockRequestTest, ShortHeaderIsRefused) {
  write_header(4, 0);
  parse({{GuestAddress{kHeaderAddress}, 15, Access::kRead},
         {GuestAddress{kStatusAddress}, 1, Access::kWrite}});
  expect_refused(BlockStatus::kIoError);
}

TEST_F(BlockRequestTest, WithoutRoomForAStatusNothingIsDone) {
  write_header(1, 0);
  parse({{GuestAddress{kHeaderAddress}, 16, Access::kRead},
         {GuestAddress{kBuffer}, 512, Access::kRead}});
  EXPECT_EQ(request_.operation, BlockOperation::kNothing);
  EXPECT_FALSE(request_.status_byte.has_value());
  EXPECT_EQ(request_.written_bytes(BlockStatus::kIoError), 0U);
}

TEST_F(BlockRequestTest, UnknownTypeIsUnsupported) {
  for (const uint32_t type : {2U, 3U, 10U, 14U, 0x80000000U, UINT32_MAX}) {
    write_header(type, 0);
    parse({{GuestAddress{kHeaderAddress}, 16, Access::kRead},
           {GuestAddress{kStatusAddress}, 1, Access::kWrite}});
    expect_refused(BlockStatus::kUnsupported);
    finish();
  }
}

TEST_F(BlockRequestTest, IdIsCutToTheRoomThereIs) {
  write_header(8, 0);
  parse({{GuestAddress{kHeaderAddress}, 16, Access::kRead},
         {GuestAddress{kBuffer}, 9, Access::kWrite}});
  EXPECT_EQ(request_.operation, BlockOperation::kGetId);
  EXPECT_EQ(request_.length, 8U);
  EXPECT_EQ(request_.written_bytes(BlockStatus::kOk), 9U);
}

TEST_F(BlockRequestTest, RangesAreUnderstood) {
  write_range(0, 10, 50, 1);
  write_range(1, 99, 1, 0);
  parse_ranges(13, 2);
  EXPECT_EQ(request_.operation, BlockOperation::kWriteZeroes);
  ASSERT_EQ(request_.ranges.size(), 2U);
  EXPECT_EQ(request_.ranges[0].offset, 5120U);
  EXPECT_EQ(request_.ranges[0].length, 25600U);
  EXPECT_TRUE(request_.ranges[0].may_unmap);
  EXPECT_FALSE(request_.ranges[1].may_unmap);
}

TEST_F(BlockRequestTest, OneBadRangeRefusesAll) {
  write_range(0, 10, 1, 0);
  write_range(1, UINT64_MAX, 1, 0);
  parse_ranges(11, 2);
  expect_refused(BlockStatus::kIoError);
}

TEST_F(BlockRequestTest, RangePastTheEndOrOverTheLimitIsRefused) {
  write_range(0, 99, 2, 0);
  parse_ranges(13, 1);
  expect_refused(BlockStatus::kIoError);
  finish();
  write_range(0, 0, 51, 0);
  parse_ranges(13, 1);
  expect_refused(BlockStatus::kIoError);
}

TEST_F(BlockRequestTest, NoneTooManyOrTornRangesAreRefused) {
  parse_ranges(11, 0);
  expect_refused(BlockStatus::kIoError);
  finish();
  parse_ranges(11, 3);
  expect_refused(BlockStatus::kIoError);
  finish();
  write_header(11, 0);
  parse({{GuestAddress{kHeaderAddress}, 16, Access::kRead},
         {GuestAddress{kRanges}, 17, Access::kRead},
         {GuestAddress{kStatusAddress}, 1, Access::kWrite}});
  expect_refused(BlockStatus::kIoError);
}

TEST_F(BlockRequestTest, UnknownFlagsAreUnsupported) {
  write_range(0, 0, 1, 1);
  parse_ranges(11, 1);
  expect_refused(BlockStatus::kUnsupported);
  finish();
  write_range(0, 0, 1, 2);
  parse_ranges(13, 1);
  expect_refused(BlockStatus::kUnsupported);
}

TEST_F(BlockRequestTest, DiscardThatWasNotNegotiatedIsUnsupported) {
  limits_.discard = false;
  write_range(0, 0, 1, 0);
  parse_ranges(11, 1);
  expect_refused(BlockStatus::kUnsupported);
}

TEST_F(BlockRequestTest, NothingIsLeftOfTheRequestBefore) {
  write_range(0, 0, 1, 0);
  parse_ranges(13, 1);
  finish();
  parse_transfer(0, 0, 512);
  EXPECT_TRUE(request_.ranges.empty());
  finish();
  write_header(4, 0);
  parse({{GuestAddress{kHeaderAddress}, 16, Access::kRead},
         {GuestAddress{kStatusAddress}, 1, Access::kWrite}});
  EXPECT_TRUE(request_.buffers.empty());
  EXPECT_EQ(request_.length, 0U);
}

TEST(BlockStatus, EveryErrorBecomesOneOfTwoBytes) {
  EXPECT_EQ(block_status({}), BlockStatus::kOk);
  EXPECT_EQ(block_status(fail(ErrorKind::kNoSpace, "full")), BlockStatus::kIoError);
  EXPECT_EQ(block_status(fail(ErrorKind::kUnsupported, "no")), BlockStatus::kUnsupported);
}

}  // namespace
}  // namespace hull::virtio
