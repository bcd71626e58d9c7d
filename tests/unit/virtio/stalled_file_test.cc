// A block device whose image's requests wait for threads that are stuck: it stops all the same, and
// the image goes on being usable.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <semaphore>

#include "base/endian.h"
#include "blockcore/engine/io_thread.h"
#include "blockcore/open.h"
#include "tests/support/fake_driver.h"
#include "tests/support/fake_virtio.h"
#include "tests/support/held_reads.h"
#include "tests/support/temporary_directory.h"
#include "virtio/block_device.h"

namespace hull::virtio {
namespace {

using blockcore::IoEngine;
using blockcore::Task;
using testing::Access;

constexpr unsigned kLongReads = 24;  // more than there are threads
constexpr uint64_t kRequestHeader = 0x8000;

Task<void> read_for_long(IoEngine& engine, int fd, std::span<const iovec> buffers,
                         std::atomic<unsigned>& ended) {
  co_await engine.readv(fd, buffers, 0);
  ++ended;
}

// With a transient overlay, which is qcow2, or without.
class StalledFile : public ::testing::TestWithParam<bool> {
 protected:
  Result<std::unique_ptr<blockcore::Disk>> open() {
    const std::string path = directory_ / "image";
    const UniqueFd file = open_file(path, O_RDWR | O_CREAT).value();
    CHECK(::ftruncate(file.get(), 1 << 20) == 0);
    return io_->engine().run_until_done(
        blockcore::open_disk(io_->engine(), {.path = path, .transient = GetParam()}));
  }
  void occupy_all_threads() {
    io_->post([this] {
      for (unsigned i = 0; i < kLongReads; ++i)
        blockcore::start_detached(
            read_for_long(io_->engine(), held_.fd(), {&room_for_reads_, 1}, ended_));
    });
  }
  void turn() {
    std::binary_semaphore done(0);
    io_->post([&] { done.release(); });
    done.acquire();
  }
  static void add_read(testing::FakeDriver& driver, const GuestMemory& memory) {
    memory.slice(GuestAddress{kRequestHeader}, 16)->write(0, Le32(0U));
    driver.add({{GuestAddress{kRequestHeader}, 16, Access::kRead},
                {GuestAddress{0x10000}, 4096, Access::kWrite},
                {GuestAddress{kRequestHeader + 16}, 1, Access::kWrite}});
  }

  const testing::TemporaryDirectory directory_;
  std::atomic<unsigned> ended_{0};
  uint8_t byte_ = 0;
  const iovec room_for_reads_{&byte_, 1};
  std::unique_ptr<blockcore::IoThread> io_ =
      blockcore::IoThread::create(blockcore::IoEngineKind::kThreads).value();
  testing::HeldReads held_;  // after the engine, whose threads end when it has let them go
};

TEST_P(StalledFile, DeviceStopsAndTheImageIsUsableAfterwards) {
  auto disk = open().value();
  ASSERT_TRUE(io_->start("block"));
  occupy_all_threads();
  {
    const GuestMemory memory = testing::make_memory(1 << 20);
    testing::FakeDriver driver(memory, GuestAddress{0x1000}, 64);
    testing::FakeInterrupt interrupt;
    const EventFd kick = EventFd::create().value();
    BlockDevice device({}, *disk, io_->engine());
    for (int i = 0; i < 8; ++i) add_read(driver, memory);
    DeviceResources resources{FeatureSet(1 << 9), {}, &interrupt};
    resources.queues.emplace_back(
        QueueResources{Queue::create(driver.config(), memory).value(), &kick});
    ASSERT_TRUE(device.activate(std::move(resources)));
    kick.signal();
    for (int i = 0; i < 20; ++i) turn();
    std::binary_semaphore stopped(0);
    device.stop([&] { stopped.release(); });
    EXPECT_FALSE(stopped.try_acquire_for(std::chrono::milliseconds(10)));
    device.abandon();
    EXPECT_TRUE(stopped.try_acquire_for(std::chrono::seconds(60)));
    EXPECT_EQ(ended_, 0U) << "it has not waited for them";
    EXPECT_EQ(driver.used_index(), 0);
  }
  held_.release();
  io_->stop();
  uint64_t word = 1;
  const iovec buffer{&word, sizeof word};
  EXPECT_TRUE(io_->engine().run_until_done(disk->read(0, {&buffer, 1})));
  EXPECT_EQ(word, 0U);
  EXPECT_TRUE(io_->engine().run_until_done(disk->flush()));
  EXPECT_TRUE(io_->engine().run_until_done(disk->close()));
}

INSTANTIATE_TEST_SUITE_P(Formats, StalledFile, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "transient" : "raw"; });

}  // namespace
}  // namespace hull::virtio
