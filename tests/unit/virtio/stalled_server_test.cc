// A block device on an NBD server that takes requests and answers nothing: it stops all the same.
#include <gtest/gtest.h>

#include <semaphore>

#include "base/endian.h"
#include "blockcore/engine/io_thread.h"
#include "blockcore/nbd/nbd_disk.h"
#include "tests/support/fake_driver.h"
#include "tests/support/fake_virtio.h"
#include "tests/support/nbd_fake_server.h"
#include "virtio/block_device.h"

namespace hull::virtio {
namespace {

using testing::Access;
using testing::NbdClient;
using testing::NbdFakeServer;

constexpr uint64_t kHeaders = 0x8000;
constexpr uint64_t kBody = 0x10000;
constexpr uint32_t kBodyBytes = 48 << 10;

class StalledServer : public ::testing::TestWithParam<blockcore::IoEngineKind> {};

void add_request(testing::FakeDriver& driver, const GuestMemory& memory, uint32_t type) {
  const uint64_t header = kHeaders + 32 * type;
  memory.slice(GuestAddress{header}, 16)->write(0, Le32(type));
  driver.add({{GuestAddress{header}, 16, Access::kRead},
              {GuestAddress{kBody}, kBodyBytes, type == 0 ? Access::kWrite : Access::kRead},
              {GuestAddress{header + 16}, 1, Access::kWrite}});
}

TEST_P(StalledServer, DeviceStopsOnceItsBackEndWasGivenUp) {
  std::binary_semaphore asked(0);
  std::binary_semaphore done(0);
  NbdFakeServer server([&](NbdClient& peer) {
    NbdFakeServer::shake_hands(peer);
    (void)peer.receive(sizeof(blockcore::nbd::RequestHeader));
    asked.release();
    done.acquire();
  });
  auto io = blockcore::IoThread::create(GetParam());
  if (!io) {
    done.release();
    GTEST_SKIP() << io.error().message();
  }
  blockcore::IoEngine& engine = (*io)->engine();
  auto disk = blockcore::nbd::NbdDisk::open(engine, server.url(), {}).value();
  ASSERT_TRUE((*io)->start("block").has_value());
  {
    const GuestMemory memory = testing::make_memory(1 << 20);
    testing::FakeDriver driver(memory, GuestAddress{0x1000}, 256);
    testing::FakeInterrupt interrupt;
    const EventFd kick = EventFd::create().value();
    BlockDevice device({}, *disk, engine);
    // Reads that wait for an answer, and more writes than the socket takes.
    for (int i = 0; i < 4; ++i) add_request(driver, memory, 0);
    for (int i = 0; i < 60; ++i) add_request(driver, memory, 1);
    DeviceResources resources{FeatureSet(1 << 9), {}, &interrupt};
    resources.queues.emplace_back(
        QueueResources{Queue::create(driver.config(), memory).value(), &kick});
    ASSERT_TRUE(device.activate(std::move(resources)).has_value());
    kick.signal();
    asked.acquire();
    std::binary_semaphore stopped(0);
    device.stop([&] { stopped.release(); });
    const bool early = stopped.try_acquire_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(early) << "requests are in flight";
    device.abandon();
    if (!early) stopped.acquire();
    EXPECT_EQ(driver.used_index(), 0);
  }
  (*io)->stop();
  EXPECT_FALSE(engine.run_until_done(disk->close())) << "what was not written is no success";
  disk.reset();
  done.release();
}

INSTANTIATE_TEST_SUITE_P(Engines, StalledServer,
                         ::testing::Values(blockcore::IoEngineKind::kUring,
                                           blockcore::IoEngineKind::kThreads),
                         [](const auto& test) {
                           return test.param == blockcore::IoEngineKind::kUring ? "uring"
                                                                                : "threads";
                         });

}  // namespace
}  // namespace hull::virtio
