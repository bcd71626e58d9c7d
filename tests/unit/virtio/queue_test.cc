#include "virtio/queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/support/fake_driver.h"

namespace hull::virtio {
namespace {

using testing::Access;
using testing::FakeDriver;
using testing::kDescriptorIndirect;
using testing::kDescriptorNext;
using testing::kDescriptorWrite;

constexpr uint64_t kMemoryBytes = 1 << 20;
constexpr GuestAddress kRing{0x1000};
constexpr GuestAddress kTable{0x4000};
constexpr GuestAddress kData{0x8000};

class QueueTest : public ::testing::Test {
 protected:
  Queue create(const FakeDriver& driver) { return Queue::create(driver.config(), memory_).value(); }
  QueueError create_error(const QueueConfig& config) {
    return Queue::create(config, memory_).error();
  }
  GuestMemory memory_ = testing::make_memory(kMemoryBytes);
  FakeDriver driver_{memory_, kRing, 8};
};

QueueError pop_error(Queue& queue) {
  auto popped = queue.pop();
  EXPECT_FALSE(popped.has_value());
  return popped.error();
}

TEST_F(QueueTest, SizeZeroTooLargeOrNoPowerOfTwoIsRefused) {
  for (const uint32_t size : {0U, 3U, 6U, 16U, 65536U, 0x10008U, UINT32_MAX}) {
    QueueConfig config = driver_.config();
    config.size = size;
    EXPECT_EQ(create_error(config), QueueError::kBadSize) << size;
  }
}

TEST_F(QueueTest, SmallerPowerOfTwoIsAccepted) {
  QueueConfig config = driver_.config();
  config.size = 2;
  EXPECT_TRUE(Queue::create(config, memory_).has_value());
}

TEST_F(QueueTest, MisalignedAreasAreRefused) {
  QueueConfig config = driver_.config();
  config.descriptors = GuestAddress{0x1008};
  EXPECT_EQ(create_error(config), QueueError::kMisaligned);
  config = driver_.config();
  config.driver = GuestAddress{0x2001};
  EXPECT_EQ(create_error(config), QueueError::kMisaligned);
  config = driver_.config();
  config.device = GuestAddress{0x2002};
  EXPECT_EQ(create_error(config), QueueError::kMisaligned);
}

TEST_F(QueueTest, AreasPartlyOutsideMemoryAreRefused) {
  QueueConfig config = driver_.config();
  config.descriptors = GuestAddress{kMemoryBytes - 64};
  EXPECT_EQ(create_error(config), QueueError::kRingOutsideMemory);
  config = driver_.config();
  config.driver = GuestAddress{kMemoryBytes - 20};  // 22 bytes are needed
  EXPECT_EQ(create_error(config), QueueError::kRingOutsideMemory);
  config = driver_.config();
  config.device = GuestAddress{kMemoryBytes - 68};  // 70 bytes are needed
  EXPECT_EQ(create_error(config), QueueError::kRingOutsideMemory);
  config = driver_.config();
  config.descriptors = GuestAddress{UINT64_MAX - 15};
  EXPECT_EQ(create_error(config), QueueError::kRingOutsideMemory);
}

TEST(Queue, AreaThatReachesIntoAGapIsRefused) {
  const MemoryRegion ranges[] = {{GuestAddress{0}, 0x4000}, {GuestAddress{0x8000}, 0x4000}};
  const GuestMemory memory = GuestMemory::create(ranges).value();
  FakeDriver driver(memory, GuestAddress{0x1000}, 8);
  QueueConfig config = driver.config();
  config.descriptors = GuestAddress{0x3fc0};
  EXPECT_EQ(Queue::create(config, memory).error(), QueueError::kRingOutsideMemory);
}

TEST_F(QueueTest, EmptyRingGivesNothing) {
  Queue queue = create(driver_);
  EXPECT_FALSE(queue.has_available());
  EXPECT_FALSE(queue.pop().value().has_value());
}

TEST_F(QueueTest, ChainIsCopiedAndSplitIntoReadableAndWritable) {
  Queue queue = create(driver_);
  driver_.add({{kData, 16, Access::kRead},
               {GuestAddress{0x9000}, 0, Access::kRead},
               {GuestAddress{0xa000}, 512, Access::kWrite},
               {GuestAddress{0xb000}, 1, Access::kWrite}});

  EXPECT_TRUE(queue.has_available());
  Chain chain = *queue.pop().value();

  EXPECT_EQ(chain.readable().size(), 1U) << "the empty segment is left out";
  EXPECT_EQ(chain.writable().size(), 2U);
  EXPECT_EQ(chain.writable()[0].size(), 512U);
  EXPECT_EQ(queue.in_flight(), 1);
  queue.complete(std::move(chain), 513);
  EXPECT_EQ(driver_.pop_used()->length, 513U);
  EXPECT_EQ(queue.in_flight(), 0);
}

TEST_F(QueueTest, DescriptorsChangedAfterPopChangeNothing) {
  Queue queue = create(driver_);
  const uint16_t head = driver_.add({{kData, 16, Access::kRead}});
  Chain chain = *queue.pop().value();

  driver_.write_descriptor(head, UINT64_MAX, UINT32_MAX, kDescriptorWrite, 7);

  EXPECT_EQ(chain.readable().size(), 1U);
  EXPECT_EQ(chain.readable()[0].size(), 16U);
  queue.discard(std::move(chain));
}

TEST_F(QueueTest, DiscardTellsTheDriverNothing) {
  Queue queue = create(driver_);
  driver_.add({{kData, 16, Access::kRead}});
  queue.discard(*queue.pop().value());
  EXPECT_EQ(driver_.used_index(), 0);
}

TEST_F(QueueTest, StagedBuffersAppearTogether) {
  Queue queue = create(driver_);
  driver_.add({{kData, 16, Access::kWrite}});
  driver_.add({{kData, 16, Access::kWrite}});
  queue.stage(*queue.pop().value(), 16);
  queue.stage(*queue.pop().value(), 4);
  EXPECT_EQ(driver_.used_index(), 0);
  queue.publish();
  EXPECT_EQ(driver_.used_index(), 2);
}

TEST_F(QueueTest, IndexOfTheRingWrapsAt65536) {
  Queue queue = create(driver_);
  for (unsigned i = 0; i < 70000; ++i) {
    driver_.add({{kData, 1, Access::kWrite}});
    auto popped = queue.pop();
    ASSERT_TRUE(popped.has_value() && popped->has_value()) << i;
    queue.complete(**std::move(popped), 1);
    ASSERT_TRUE(driver_.pop_used().has_value()) << i;
  }
}

TEST_F(QueueTest, AvailableIndexJumpBreaksTheQueueForGood) {
  Queue queue = create(driver_);
  driver_.set_available_index(9);
  EXPECT_EQ(pop_error(queue), QueueError::kAvailableIndexJump);
  driver_.set_available_index(0);
  EXPECT_EQ(pop_error(queue), QueueError::kAvailableIndexJump);
}

TEST_F(QueueTest, AvailableIndexThatGoesBackIsAJump) {
  Queue queue = create(driver_);
  driver_.add({{kData, 1, Access::kWrite}});
  queue.complete(*queue.pop().value(), 1);
  driver_.set_available_index(0);
  EXPECT_EQ(pop_error(queue), QueueError::kAvailableIndexJump);
}

TEST_F(QueueTest, HeadOutOfRangeIsRefused) {
  Queue queue = create(driver_);
  driver_.make_available(8);
  EXPECT_EQ(pop_error(queue), QueueError::kIndexOutOfRange);
}

TEST_F(QueueTest, NextOutOfRangeIsRefused) {
  Queue queue = create(driver_);
  driver_.write_descriptor(0, 0x8000, 1, kDescriptorNext, 8);
  driver_.make_available(0);
  EXPECT_EQ(pop_error(queue), QueueError::kIndexOutOfRange);
}

TEST_F(QueueTest, HeadMadeAvailableTwiceIsRefused) {
  Queue queue = create(driver_);
  const uint16_t head = driver_.add({{kData, 16, Access::kRead}});
  driver_.make_available(head);
  Chain chain = *queue.pop().value();
  EXPECT_EQ(pop_error(queue), QueueError::kHeadInFlight);
  EXPECT_EQ(chain.readable()[0].size(), 16U) << "the first one is whole";
  queue.discard(std::move(chain));
}

TEST_F(QueueTest, LoopEndsAtTheQueueSize) {
  Queue queue = create(driver_);
  driver_.write_descriptor(0, 0x8000, 1, kDescriptorNext, 1);
  driver_.write_descriptor(1, 0x8000, 1, kDescriptorNext, 0);
  driver_.make_available(0);
  EXPECT_EQ(pop_error(queue), QueueError::kChainTooLong);
}

TEST_F(QueueTest, ChainOfMoreThan4GiBIsRefused) {
  const GuestMemory memory = testing::make_memory(uint64_t{3} << 30);
  FakeDriver driver(memory, kRing, 8);
  Queue queue = Queue::create(driver.config(), memory).value();
  driver.add(
      {{GuestAddress{0}, 0x80000000, Access::kRead}, {GuestAddress{0}, 0x80000000, Access::kRead}});
  EXPECT_EQ(pop_error(queue), QueueError::kChainTooLong);
}

TEST_F(QueueTest, ReadableAfterWritableIsRefused) {
  Queue queue = create(driver_);
  driver_.add({{kData, 1, Access::kWrite}, {kData, 1, Access::kRead}});
  EXPECT_EQ(pop_error(queue), QueueError::kReadableAfterWritable);
}

TEST_F(QueueTest, BufferThatEndsOutsideMemoryIsRefused) {
  Queue queue = create(driver_);
  driver_.add({{GuestAddress{kMemoryBytes - 1}, 2, Access::kRead}});
  EXPECT_EQ(pop_error(queue), QueueError::kBufferOutsideMemory);
}

TEST_F(QueueTest, BufferThatWrapsTheAddressSpaceIsRefused) {
  Queue queue = create(driver_);
  driver_.add({{GuestAddress{UINT64_MAX}, 2, Access::kRead}});
  EXPECT_EQ(pop_error(queue), QueueError::kBufferOutsideMemory);
}

TEST_F(QueueTest, IndirectTableIsFollowed) {
  Queue queue = create(driver_);
  driver_.add_indirect(kTable, {{kData, 16, Access::kRead}, {kData, 1, Access::kWrite}});
  Chain chain = *queue.pop().value();
  EXPECT_EQ(chain.readable().size(), 1U);
  EXPECT_EQ(chain.writable().size(), 1U);
  queue.complete(std::move(chain), 1);
  EXPECT_EQ(driver_.pop_used()->length, 1U);
}

TEST_F(QueueTest, IndirectTableMayFollowDirectDescriptors) {
  Queue queue = create(driver_);
  driver_.write_descriptor(0, 0x8000, 16, kDescriptorNext, 1);
  // The write flag of a descriptor that refers to a table is ignored.
  driver_.write_descriptor(1, to_number(kTable), 16, kDescriptorIndirect | kDescriptorWrite, 0);
  driver_.write_descriptor_at(kTable, 0x9000, 4, 0, 0);
  driver_.make_available(0);
  Chain chain = *queue.pop().value();
  EXPECT_EQ(chain.readable().size(), 2U);
  queue.discard(std::move(chain));
}

TEST_F(QueueTest, IndirectTableAsLongAsTheQueueIsAcceptedAndALongerOneIsNot) {
  Queue queue = create(driver_);
  const auto make_table = [this](uint16_t entries) {
    for (uint16_t i = 0; i < entries; ++i) {
      const uint16_t flags = i + 1 == entries ? uint16_t{0} : kDescriptorNext;
      driver_.write_descriptor_at(GuestAddress{to_number(kTable) + 16U * i}, 0x8000, 1, flags,
                                  static_cast<uint16_t>(i + 1));
    }
    driver_.write_descriptor(0, to_number(kTable), 16U * entries, kDescriptorIndirect, 0);
    driver_.make_available(0);
  };
  make_table(8);
  Chain chain = *queue.pop().value();
  EXPECT_EQ(chain.readable().size(), 8U);
  queue.discard(std::move(chain));
  make_table(9);
  EXPECT_EQ(pop_error(queue), QueueError::kChainTooLong);
}

struct BadIndirect {
  const char* what;
  uint64_t address;
  uint32_t length;
  uint16_t flags;
};

class BadIndirectTest : public QueueTest, public ::testing::WithParamInterface<BadIndirect> {};

TEST_P(BadIndirectTest, IsRefused) {
  Queue queue = create(driver_);
  driver_.write_descriptor(0, GetParam().address, GetParam().length, GetParam().flags, 1);
  driver_.write_descriptor(1, 0x8000, 1, 0, 0);
  driver_.make_available(0);
  EXPECT_EQ(pop_error(queue), QueueError::kBadIndirectTable) << GetParam().what;
}

INSTANTIATE_TEST_SUITE_P(
    Tables, BadIndirectTest,
    ::testing::Values(BadIndirect{"empty", 0x4000, 0, kDescriptorIndirect},
                      BadIndirect{"no multiple of 16", 0x4000, 24, kDescriptorIndirect},
                      BadIndirect{"outside memory", kMemoryBytes - 16, 32, kDescriptorIndirect},
                      BadIndirect{"huge", 0x4000, 0xfffffff0, kDescriptorIndirect},
                      BadIndirect{"followed by another", 0x4000, 16,
                                  kDescriptorIndirect | kDescriptorNext}),
    [](const auto& test) { return "Table" + std::to_string(test.index); });

TEST_F(QueueTest, NestedIndirectTableIsRefused) {
  Queue queue = create(driver_);
  driver_.write_descriptor(0, to_number(kTable), 16, kDescriptorIndirect, 0);
  driver_.write_descriptor_at(kTable, to_number(kTable), 16, kDescriptorIndirect, 0);
  driver_.make_available(0);
  EXPECT_EQ(pop_error(queue), QueueError::kBadIndirectTable);
}

TEST_F(QueueTest, IndirectTableWithoutTheFeatureIsRefused) {
  QueueConfig config = driver_.config();
  config.indirect_descriptors = false;
  Queue queue = Queue::create(config, memory_).value();
  driver_.add_indirect(kTable, {{kData, 16, Access::kRead}});
  EXPECT_EQ(pop_error(queue), QueueError::kBadIndirectTable);
}

TEST_F(QueueTest, NotifiesOnceForWhatWasPublished) {
  Queue queue = create(driver_);
  EXPECT_FALSE(queue.should_notify());
  driver_.add({{kData, 1, Access::kWrite}});
  queue.complete(*queue.pop().value(), 1);
  EXPECT_TRUE(queue.should_notify());
  EXPECT_FALSE(queue.should_notify());
}

TEST_F(QueueTest, NoInterruptFlagSilencesWithoutTheEventIndexAlone) {
  Queue queue = create(driver_);
  driver_.set_no_interrupt(true);
  driver_.add({{kData, 1, Access::kWrite}});
  queue.complete(*queue.pop().value(), 1);
  EXPECT_FALSE(queue.should_notify());

  FakeDriver with_index(memory_, GuestAddress{0x2000}, 8, true);
  Queue other = create(with_index);
  with_index.set_no_interrupt(true);
  with_index.add({{kData, 1, Access::kWrite}});
  other.complete(*other.pop().value(), 1);
  EXPECT_TRUE(other.should_notify()) << "the flag is to be ignored";
}

TEST_F(QueueTest, EventIndexNotifiesWhenTheEventIsPassed) {
  FakeDriver driver(memory_, GuestAddress{0x2000}, 8, true);
  Queue queue = create(driver);
  driver.set_used_event(1);  // after the second buffer
  driver.add({{kData, 1, Access::kWrite}});
  queue.complete(*queue.pop().value(), 1);
  EXPECT_FALSE(queue.should_notify());
  driver.add({{kData, 1, Access::kWrite}});
  queue.complete(*queue.pop().value(), 1);
  EXPECT_TRUE(queue.should_notify());
  driver.add({{kData, 1, Access::kWrite}});
  queue.complete(*queue.pop().value(), 1);
  EXPECT_FALSE(queue.should_notify()) << "the event lies in the past";
}

TEST_F(QueueTest, EventIndexNotifiesOnceForABatchThatPassesTheEvent) {
  FakeDriver driver(memory_, GuestAddress{0x2000}, 8, true);
  Queue queue = create(driver);
  driver.set_used_event(1);
  for (int i = 0; i < 4; ++i) driver.add({{kData, 1, Access::kWrite}});
  for (int i = 0; i < 4; ++i) queue.complete(*queue.pop().value(), 1);
  EXPECT_TRUE(queue.should_notify());
  EXPECT_FALSE(queue.should_notify());
}

TEST_F(QueueTest, DisabledNotificationsSetTheFlag) {
  Queue queue = create(driver_);
  queue.disable_notifications();
  EXPECT_EQ(driver_.used_flags(), 1);
  EXPECT_TRUE(queue.enable_notifications());
  EXPECT_EQ(driver_.used_flags(), 0);
}

TEST_F(QueueTest, EventIndexAsksForAKickAtTheNextBuffer) {
  FakeDriver driver(memory_, GuestAddress{0x2000}, 8, true);
  Queue queue = create(driver);
  driver.add({{kData, 1, Access::kWrite}});
  queue.complete(*queue.pop().value(), 1);
  EXPECT_TRUE(queue.enable_notifications());
  EXPECT_EQ(driver.available_event(), 1);
  EXPECT_EQ(driver.used_flags(), 0) << "stays 0 with the event index";
  driver.add({{kData, 1, Access::kWrite}});
  EXPECT_TRUE(driver.must_kick());
  queue.disable_notifications();
  queue.complete(*queue.pop().value(), 1);
  driver.add({{kData, 1, Access::kWrite}});
  EXPECT_FALSE(driver.must_kick());
  EXPECT_EQ(driver.available_event(), 0) << "passed already";
  EXPECT_FALSE(queue.enable_notifications()) << "a buffer came meanwhile, without a kick";
  queue.discard(*queue.pop().value());
}

// Each side arms its wake-up, looks once more and sleeps; the other one publishes and then reads
// whether to wake. Without a full fence between the two steps on either side, both read the past
// and sleep for ever, within some thousand rounds.
class LitmusTest : public QueueTest {
 protected:
  static constexpr unsigned kRounds = 100000;
  static constexpr auto kForEver = std::chrono::seconds(10);

  void run(bool event_index) {
    FakeDriver driver(memory_, kRing, 8, event_index);
    std::thread device([&] { serve(create(driver)); });
    for (unsigned i = 0; i < kRounds && !stuck_; ++i) {
      arm(driver, event_index, false);
      driver.add({{kData, 1, Access::kWrite}});
      if (driver.must_kick()) kicked_.store(true, std::memory_order_release);
      // Now and then the two meet.
      volatile unsigned delay = i * 2654435761U >> 22;
      while (delay != 0) {
        const unsigned left = delay - 1;
        delay = left;
      }
      arm(driver, event_index, true);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      // An interrupt may be a late one for the buffer before.
      while (driver.used_index() != static_cast<uint16_t>(i + 1) && !stuck_)
        sleep_until(interrupted_);
      EXPECT_TRUE(stuck_ || driver.pop_used().has_value());
    }
    done_ = true;
    device.join();
    EXPECT_FALSE(stuck_) << "a wake-up was lost";
  }

 private:
  void serve(Queue queue) {
    while (!done_) {
      do {
        queue.disable_notifications();
        while (auto chain = queue.pop().value()) queue.complete(*std::move(chain), 1);
        if (queue.should_notify()) interrupted_.store(true, std::memory_order_release);
      } while (!queue.enable_notifications());
      sleep_until(kicked_);
    }
  }
  static void arm(FakeDriver& driver, bool event_index, bool wanted) {
    if (event_index)
      driver.set_used_event(static_cast<uint16_t>(driver.used_seen() - (wanted ? 0 : 1)));
    else
      driver.set_no_interrupt(!wanted);
  }
  void sleep_until(std::atomic<bool>& woken) {
    const auto end = std::chrono::steady_clock::now() + kForEver;
    for (unsigned i = 1; !woken.exchange(false) && !done_ && !stuck_; ++i) {
      if (i % 256 != 0) continue;
      std::this_thread::yield();
      if (std::chrono::steady_clock::now() > end) stuck_ = true;
    }
  }

  std::atomic<bool> kicked_{false};
  std::atomic<bool> interrupted_{false};
  std::atomic<bool> done_{false};
  std::atomic<bool> stuck_{false};
};

TEST_F(LitmusTest, NoWakeUpIsLostWithTheEventIndex) { run(true); }
TEST_F(LitmusTest, NoWakeUpIsLostWithFlags) { run(false); }

TEST(QueueDeathTest, ChainThatIsNotGivenBackIsOurBug) {
  const GuestMemory memory = testing::make_memory(kMemoryBytes);
  FakeDriver driver(memory, kRing, 8);
  driver.add({{kData, 1, Access::kWrite}});
  EXPECT_DEATH(
      {
        Queue queue = Queue::create(driver.config(), memory).value();
        {
          const auto chain = queue.pop();
        }
      },
      "check failed");
}

}  // namespace
}  // namespace hull::virtio
