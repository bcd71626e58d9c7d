#include "virtio/chain.h"

#include <gtest/gtest.h>

#include <array>

#include "base/endian.h"
#include "tests/support/fake_driver.h"
#include "virtio/queue.h"

namespace hull::virtio {
namespace {

using testing::Access;
using testing::FakeDriver;

class ChainTest : public ::testing::Test {
 protected:
  // A chain of readable segments of these lengths at 0x8000, 0x9000, … and then writable ones.
  Chain chain(std::initializer_list<uint32_t> readable, std::initializer_list<uint32_t> writable) {
    std::vector<testing::Buffer> buffers;
    uint64_t address = 0x8000;
    for (const uint32_t length : readable) {
      buffers.push_back({GuestAddress{address}, length, Access::kRead});
      address += 0x1000;
    }
    for (const uint32_t length : writable) {
      buffers.push_back({GuestAddress{address}, length, Access::kWrite});
      address += 0x1000;
    }
    driver_.add(buffers);
    return *queue_.pop().value();
  }
  uint8_t byte_at(uint64_t address) {
    return memory_.slice(GuestAddress{address}, 1)->read<uint8_t>();
  }
  void set_byte(uint64_t address, uint8_t value) {
    memory_.slice(GuestAddress{address}, 1)->write(0, value);
  }

  GuestMemory memory_ = testing::make_memory(1 << 20);
  FakeDriver driver_{memory_, GuestAddress{0x1000}, 8};
  Queue queue_ = Queue::create(driver_.config(), memory_).value();
};

TEST_F(ChainTest, ReaderCrossesSegments) {
  set_byte(0x8000, 0x11);
  set_byte(0x8001, 0x22);
  set_byte(0x9000, 0x33);
  set_byte(0xa000, 0x44);
  Chain owned = chain({2, 1, 5}, {});
  ChainReader reader(owned);
  EXPECT_EQ(reader.remaining(), 8U);
  EXPECT_EQ(reader.read_value<Le32>()->get(), 0x44332211U);
  EXPECT_EQ(reader.remaining(), 4U);
  queue_.discard(std::move(owned));
}

TEST_F(ChainTest, ReaderTakesNothingIfTooLittleIsLeft) {
  Chain owned = chain({3}, {});
  ChainReader reader(owned);
  EXPECT_FALSE(reader.read_value<Le32>().has_value());
  EXPECT_EQ(reader.remaining(), 3U);
  queue_.discard(std::move(owned));
}

TEST_F(ChainTest, WriterCrossesSegmentsAndStopsAtTheEnd) {
  Chain owned = chain({}, {1, 2});
  ChainWriter writer(owned);
  const std::array<uint8_t, 3> data = {1, 2, 3};
  EXPECT_TRUE(writer.write(data));
  EXPECT_FALSE(writer.write(std::span(data).first(1)));
  EXPECT_EQ(byte_at(0x8000), 1);
  EXPECT_EQ(byte_at(0x9000), 2);
  EXPECT_EQ(byte_at(0x9001), 3);
  queue_.discard(std::move(owned));
}

TEST_F(ChainTest, TailIsCutOffAtTheEndWhereverSegmentsEnd) {
  Chain owned = chain({}, {4, 1});
  ChainWriter body(owned);
  ChainWriter tail = body.split_tail(2);
  EXPECT_EQ(body.remaining(), 3U);
  EXPECT_EQ(tail.remaining(), 2U);
  const std::array<uint8_t, 2> data = {7, 8};
  EXPECT_TRUE(tail.write(data));
  EXPECT_EQ(byte_at(0x8003), 7);
  EXPECT_EQ(byte_at(0x9000), 8);
  std::vector<iovec> iovecs;
  body.take_iovecs(3, iovecs);
  EXPECT_EQ(iovecs.size(), 1U);
  EXPECT_EQ(iovecs[0].iov_len, 3U);
  queue_.discard(std::move(owned));
}

TEST_F(ChainTest, IovecsFollowSegments) {
  Chain owned = chain({16, 512, 512}, {});
  ChainReader reader(owned);
  reader.skip(16);
  std::vector<iovec> iovecs;
  reader.take_iovecs(1000, iovecs);
  ASSERT_EQ(iovecs.size(), 2U);
  EXPECT_EQ(iovecs[0].iov_len, 512U);
  EXPECT_EQ(iovecs[1].iov_len, 488U);
  EXPECT_EQ(reader.remaining(), 24U);
  queue_.discard(std::move(owned));
}

}  // namespace
}  // namespace hull::virtio
