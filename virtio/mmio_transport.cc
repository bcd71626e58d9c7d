#include "virtio/mmio_transport.h"

#include <algorithm>

#include "base/endian.h"

namespace hull::virtio {

namespace {

// Virtio 1.2, 4.2.2, table 4.1.
enum Register : uint64_t {
  kMagicValue = 0x00,
  kVersion = 0x04,
  kDeviceId = 0x08,
  kVendorId = 0x0c,
  kDeviceFeatures = 0x10,
  kDeviceFeaturesSelect = 0x14,
  kDriverFeatures = 0x20,
  kDriverFeaturesSelect = 0x24,
  kQueueSelect = 0x30,
  kQueueSizeMax = 0x34,
  kQueueSize = 0x38,
  kQueueReady = 0x44,
  kQueueNotify = MmioTransport::kQueueNotifyOffset,
  kInterruptStatus = 0x60,
  kInterruptAck = 0x64,
  kStatus = 0x70,
  kQueueDescriptorsLow = 0x80,
  kQueueDescriptorsHigh = 0x84,
  kQueueDriverLow = 0x90,
  kQueueDriverHigh = 0x94,
  kQueueDeviceLow = 0xa0,
  kQueueDeviceHigh = 0xa4,
  kConfigGeneration = 0xfc,
  kConfig = 0x100,
};

constexpr uint32_t kMagic = 0x74726976;    // "virt"
constexpr uint32_t kVendor = 0x4c4c5548;   // "HULL"
constexpr uint32_t kNothing = UINT32_MAX;  // also SHMLen and SHMBase: no such region
constexpr uint32_t kUsedBufferInterrupt = 1;
constexpr uint32_t kConfigInterrupt = 2;

}  // namespace

Result<std::unique_ptr<MmioTransport>> MmioTransport::create(std::unique_ptr<VirtioDevice> device,
                                                             const GuestMemory& memory,
                                                             devices::InterruptLine& line) {
  std::unique_ptr<MmioTransport> transport(new MmioTransport(line));
  transport->frontend_ = TRY(Frontend::create(std::move(device), memory, *transport));
  return transport;
}

std::string_view MmioTransport::name() const { return frontend_->device().name(); }

void MmioTransport::read(uint64_t offset, std::span<uint8_t> data) {
  if (offset >= kConfig) return frontend_->read_config(offset - kConfig, data);
  std::ranges::fill(data, uint8_t{0xff});
  if (data.size() != 4 || offset % 4 != 0) return;
  const Le32 value = read_register(offset);
  std::memcpy(data.data(), &value, sizeof value);
}

void MmioTransport::write(uint64_t offset, std::span<const uint8_t> data) {
  if (offset >= kConfig) return frontend_->write_config(offset - kConfig, data);
  if (data.size() != 4 || offset % 4 != 0) return;
  Le32 value;
  std::memcpy(&value, data.data(), sizeof value);
  write_register(offset, value);
}

uint32_t MmioTransport::read_register(uint64_t offset) const {
  switch (offset) {
    case kMagicValue: return kMagic;
    case kVersion: return 2;
    case kDeviceId: return static_cast<uint32_t>(frontend_->device().type());
    case kVendorId: return kVendor;
    case kDeviceFeatures: return frontend_->offered_features(device_features_select_);
    case kQueueSizeMax: return frontend_->queue_max_size(queue_select_);
    case kQueueReady: return frontend_->queue_ready(queue_select_) ? 1 : 0;
    case kInterruptStatus: return interrupt_status_;
    case kStatus: return frontend_->status();
    case kConfigGeneration: return frontend_->config_generation();
    default: return kNothing;
  }
}

void MmioTransport::write_register(uint64_t offset, uint32_t value) {
  const uint32_t queue = queue_select_;
  switch (offset) {
    case kDeviceFeaturesSelect: device_features_select_ = value; break;
    case kDriverFeatures: frontend_->accept_features(driver_features_select_, value); break;
    case kDriverFeaturesSelect: driver_features_select_ = value; break;
    case kQueueSelect: queue_select_ = value; break;
    case kQueueSize: frontend_->set_queue_size(queue, value); break;
    case kQueueReady: frontend_->set_queue_ready(queue, value != 0); break;
    case kQueueNotify: frontend_->notify_queue(value); break;
    case kInterruptAck: acknowledge(value); break;
    case kStatus:
      if (value <= UINT8_MAX) frontend_->write_status(static_cast<uint8_t>(value));
      break;
    case kQueueDescriptorsLow:
    case kQueueDescriptorsHigh:
      frontend_->set_queue_area(queue, QueueArea::kDescriptors, offset == kQueueDescriptorsHigh,
                                value);
      break;
    case kQueueDriverLow:
    case kQueueDriverHigh:
      frontend_->set_queue_area(queue, QueueArea::kDriver, offset == kQueueDriverHigh, value);
      break;
    case kQueueDeviceLow:
    case kQueueDeviceHigh:
      frontend_->set_queue_area(queue, QueueArea::kDevice, offset == kQueueDeviceHigh, value);
      break;
    default: break;
  }
}

void MmioTransport::acknowledge(uint32_t bits) {
  // The line is edge-triggered: what is still pending needs an edge of its own.
  if ((interrupt_status_.fetch_and(~bits) & ~bits) != 0) line_.trigger();
}

void MmioTransport::raise(uint32_t bit) {
  // The bit before the edge, and an edge each time: the driver may have read the old status
  // already.
  interrupt_status_.fetch_or(bit);
  line_.trigger();
}

void MmioTransport::used_buffers(size_t /*queue*/) { raise(kUsedBufferInterrupt); }

void MmioTransport::config_changed() {
  frontend_->next_config_generation();
  raise(kConfigInterrupt);
}

void MmioTransport::device_failed() {
  frontend_->set_needs_reset();
  raise(kConfigInterrupt);
}

// 4.2.2.1: reset clears every bit of InterruptStatus.
void MmioTransport::was_reset() { interrupt_status_ = 0; }

void MmioTransport::save(StateWriter& out) const {
  const StateWriter::Section section = out.section("virtio-mmio", 1);
  out.u32(device_features_select_);
  out.u32(driver_features_select_);
  out.u32(queue_select_);
  out.u32(interrupt_status_);
  frontend_->save(out);
}

Result<void> MmioTransport::load(StateReader& outer) {
  StateReader in = TRY(outer.section("virtio-mmio", 1));
  const uint32_t device_features_select = in.u32();
  const uint32_t driver_features_select = in.u32();
  const uint32_t queue_select = in.u32();
  const uint32_t interrupt_status = in.u32();
  const Frontend::Saved saved = TRY(frontend_->read(in));
  TRY(in.end());
  frontend_->apply(saved);
  device_features_select_ = device_features_select;
  driver_features_select_ = driver_features_select;
  queue_select_ = queue_select;
  interrupt_status_ = interrupt_status;
  return {};
}

}  // namespace hull::virtio
