// Hostile receive and transmit rings against the two halves of a network device, on a wire whose
// other end sends and takes frames.
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "tests/support/fake_driver.h"
#include "virtio/net_receiver.h"
#include "virtio/net_sender.h"

using namespace hull;

namespace {

constexpr uint16_t kSize = 8;

void add(testing::FakeDriver& driver, FuzzedDataProvider& input, testing::Access access) {
  if (driver.free_descriptors() < 2) return;
  const uint32_t first = input.ConsumeIntegral<uint16_t>();
  const uint32_t second = input.ConsumeIntegral<uint8_t>();
  driver.add({{GuestAddress{0x8000}, first, access}, {GuestAddress{0x20000}, second, access}});
}

class Wire final : public virtio::NetBackend {
 public:
  explicit Wire(int fd) : fd_(fd) {}
  int fd() const override { return fd_; }
  virtio::NetOffloads supported_offloads() const override { return {}; }
  Result<void> set_offloads(virtio::NetOffloads /*offloads*/) override { return {}; }

 private:
  const int fd_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const GuestMemory memory = testing::make_memory(0x40000);
  static std::array<uint8_t, 70000> frame;
  FuzzedDataProvider input(data, size);
  int wire[2];
  CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, wire) == 0);
  const UniqueFd near(wire[0]);
  const UniqueFd far(wire[1]);
  Wire backend(near.get());
  testing::FakeDriver receive(memory, GuestAddress{0x1000}, kSize);
  testing::FakeDriver transmit(memory, GuestAddress{0x2000}, kSize);
  virtio::NetReceiver receiver(virtio::Queue::create(receive.config(), memory).value(),
                               input.ConsumeBool());
  virtio::NetSender sender(virtio::Queue::create(transmit.config(), memory).value());
  while (input.remaining_bytes() != 0) {
    const uint64_t place = (input.ConsumeBool() ? 0x1000U : 0x2000U) +
                           2U * input.ConsumeIntegralInRange<uint64_t>(0, 120);
    switch (input.ConsumeIntegralInRange<int>(0, 6)) {
      case 0: add(receive, input, testing::Access::kWrite); break;
      case 1: add(transmit, input, testing::Access::kRead); break;
      case 2: (void)!::write(far.get(), frame.data(), input.ConsumeIntegral<uint16_t>()); break;
      case 3: (void)receiver.receive(backend); break;
      case 4: (void)sender.send(input.ConsumeBool() ? &backend : nullptr); break;
      case 5: (void)!::read(far.get(), frame.data(), frame.size()); break;
      default: memory.slice(GuestAddress{place}, 2)->write(0, input.ConsumeIntegral<uint16_t>());
    }
    while (receive.pop_used()) {
    }
    while (transmit.pop_used()) {
    }
  }
  return 0;
}
