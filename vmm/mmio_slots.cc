#include "vmm/mmio_slots.h"

#include "virtio/mmio_transport.h"

namespace hull::vmm {

Result<std::unique_ptr<virtio::Transport>> MmioSlots::attach(
    std::unique_ptr<virtio::VirtioDevice> device) {
  using virtio::MmioTransport;
  const auto slot = TRY(board_.add_virtio_slot(device->name(), MmioTransport::kRegisterBytes));
  auto transport = TRY(MmioTransport::create(std::move(device), memory_, *slot.line));
  for (uint32_t queue = 0; queue < transport->queue_count(); ++queue)
    TRY(vm_.connect({.event_fd = transport->kick_fd(queue),
                     .address = slot.base + MmioTransport::kQueueNotifyOffset,
                     .length = sizeof queue,
                     .value = queue}));
  regions_.push_back(TRY(bus_.map(slot.base, MmioTransport::kRegisterBytes, *transport)));
  return std::unique_ptr<virtio::Transport>(std::move(transport));
}

}  // namespace hull::vmm
