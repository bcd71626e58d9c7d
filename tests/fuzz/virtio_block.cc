// Hostile requests, and hostile changes to the rings between them, against a block device with a
// small disk in memory: nothing outside the disk and the guest's memory is touched, and every reset
// comes to an end.
#include <fuzzer/FuzzedDataProvider.h>

#include <thread>

#include "base/endian.h"
#include "base/log.h"
#include "tests/support/fake_driver.h"
#include "tests/support/fake_virtio.h"
#include "tests/support/memory_disk.h"
#include "virtio/block_device.h"

using namespace hull;

namespace {

constexpr uint16_t kSize = 8;

// Its thread runs as long as the process.
blockcore::IoEngine& engine() {
  static blockcore::IoEngine* const instance = [] {
    set_log_level(LogLevel::kError);
    auto created = blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads).value();
    std::thread([raw = created.get()] { raw->run(); }).detach();
    return created.release();
  }();
  return *instance;
}

void add_request(const GuestMemory& memory, testing::FakeDriver& driver,
                 FuzzedDataProvider& input) {
  const GuestSlice header = memory.slice(GuestAddress{0x4000}, 16).value();
  header.write(0, Le32(input.ConsumeIntegralInRange<uint32_t>(0, 14)));
  header.write(8, Le64(input.ConsumeBool() ? input.ConsumeIntegral<uint64_t>()
                                           : input.ConsumeIntegralInRange<uint64_t>(0, 17)));
  if (driver.free_descriptors() < 3) return;
  const auto access = input.ConsumeBool() ? testing::Access::kWrite : testing::Access::kRead;
  const uint32_t length = input.ConsumeBool() ? input.ConsumeIntegral<uint16_t>()
                                              : 16U * input.ConsumeIntegral<uint8_t>();
  driver.add({{GuestAddress{0x4000}, 16, testing::Access::kRead},
              {GuestAddress{0x4010}, length, access},
              {GuestAddress{0xf000}, input.ConsumeBool() ? 1U : 0U, testing::Access::kWrite}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const GuestMemory memory = testing::make_memory(0x20000);
  static const EventFd kick = EventFd::create().value();
  FuzzedDataProvider input(data, size);
  testing::FakeDriver driver(memory, GuestAddress{0x1000}, kSize, true);
  testing::FakeInterrupt interrupt;
  testing::MemoryDisk disk(8192 + 100);
  disk.is_read_only = input.ConsumeBool();
  virtio::BlockDevice device({.discard = true, .queue_size = kSize}, disk, engine());
  const virtio::FeatureSet features(input.ConsumeIntegral<uint64_t>() & 0xffffff);
  virtio::DeviceResources resources{features, {}, &interrupt};
  resources.queues.emplace_back(
      virtio::QueueResources{virtio::Queue::create(driver.config(), memory).value(), &kick});
  CHECK(device.activate(std::move(resources)).has_value());
  while (input.remaining_bytes() != 0) {
    add_request(memory, driver, input);
    const auto place = input.ConsumeIntegralInRange<uint64_t>(0, 1023);
    if (place < 96)
      memory.slice(GuestAddress{0x1000 + 2 * place}, 2)
          ->write(0, input.ConsumeIntegral<uint16_t>());
    kick.signal();
    while (driver.pop_used()) {
    }
  }
  testing::stop_and_wait(device);
  return 0;
}
