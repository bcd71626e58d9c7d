// A driver that does anything with the rings of a queue, in any order, while the device's side
// pops, completes and discards.
#include <fuzzer/FuzzedDataProvider.h>

#include <deque>

#include "tests/support/fake_driver.h"

using hull::GuestAddress;
using hull::virtio::Chain;
using hull::virtio::Queue;

namespace {

constexpr uint16_t kSize = 8;

void check_chain(const Chain& chain) {
  size_t bytes = 0;
  for (const hull::GuestSlice& slice : chain.readable()) bytes += slice.size();
  CHECK(hull::virtio::ChainReader(chain).remaining() == bytes && bytes <= UINT32_MAX);
  CHECK(chain.readable().size() + chain.writable().size() <= kSize + 1);
  CHECK(chain.head() < kSize);
}

void step(FuzzedDataProvider& input, hull::testing::FakeDriver& driver, Queue& queue,
          std::deque<Chain>& chains) {
  const auto small = [&] { return input.ConsumeIntegralInRange<uint16_t>(0, kSize); };
  const int choice = input.ConsumeIntegralInRange<int>(0, 9);
  if (choice <= 1) {
    const GuestAddress where{(input.ConsumeBool() ? 0x1000U : 0x4000U) + 16U * small()};
    const uint64_t address = input.ConsumeBool() ? input.ConsumeIntegral<uint64_t>() : 0x4000;
    const uint32_t length = input.ConsumeBool() ? input.ConsumeIntegral<uint32_t>() : 16U * small();
    const auto flags = input.ConsumeIntegralInRange<uint16_t>(0, 7);
    driver.write_descriptor_at(where, address, length, flags, small());
  } else if (choice <= 3) {
    driver.make_available(small());
  } else if (choice == 4) {
    driver.set_available_index(input.ConsumeIntegral<uint16_t>());
  } else if (choice <= 6) {
    auto popped = queue.pop();
    if (!popped || !*popped) return;
    check_chain(**popped);
    chains.push_back(**std::move(popped));
  } else if (choice == 7 && !chains.empty()) {
    queue.complete(std::move(chains.front()), input.ConsumeIntegral<uint32_t>());
    chains.pop_front();
  } else if (choice == 8) {
    driver.set_used_event(input.ConsumeIntegral<uint16_t>());
    (void)queue.should_notify();
  } else if (queue.enable_notifications()) {
    queue.disable_notifications();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const hull::GuestMemory memory = hull::testing::make_memory(0x10000);
  FuzzedDataProvider input(data, size);
  hull::testing::FakeDriver driver(memory, GuestAddress{0x1000}, kSize, input.ConsumeBool());
  auto config = driver.config();
  config.indirect_descriptors = input.ConsumeBool();
  Queue queue = Queue::create(config, memory).value();
  std::deque<Chain> chains;
  while (input.remaining_bytes() != 0) {
    step(input, driver, queue, chains);
    CHECK(queue.in_flight() == chains.size());
  }
  for (Chain& chain : chains) queue.discard(std::move(chain));
  return 0;
}
