#include "firmware/guest/virtqueue.h"

#include <atomic>

#include "firmware/guest/clock.h"
#include "firmware/guest/memory.h"

namespace hull::guest {
namespace {

constexpr uint16_t kNoInterrupt = 1;
constexpr uint16_t kNoNotify = 1;

void set_address(const MmioDevice& device, uint32_t low_register, const volatile void* pointer) {
  const auto address = reinterpret_cast<uint64_t>(pointer);
  device.write(low_register, static_cast<uint32_t>(address));
  device.write(low_register + 4, static_cast<uint32_t>(address >> 32));
}

Descriptor describe(const Segment& segment, bool last, uint16_t next) {
  uint16_t flags = segment.device_writes ? kDescriptorWrite : 0;
  if (!last) flags |= kDescriptorNext;
  return {reinterpret_cast<uint64_t>(segment.address), segment.length, flags, next};
}

}  // namespace

Failure Virtqueue::set_up(MmioDevice& device, uint16_t index, uint16_t wanted) {
  device_ = &device;
  index_ = index;
  device.write(kQueueSel, index);
  const uint32_t max = device.read(kQueueNumMax);
  if (max == 0) return "no such queue";
  size_ = static_cast<uint16_t>(wanted < max ? wanted : max);
  if (size_ > kMaxQueueSize) size_ = kMaxQueueSize;
  descriptors_ = static_cast<Descriptor*>(allocate(size_ * sizeof(Descriptor), 16));
  avail_ = static_cast<AvailRing*>(allocate(sizeof(AvailRing), 2));
  used_ = static_cast<UsedRing*>(allocate(sizeof(UsedRing), 4));
  indirect_ = static_cast<Descriptor*>(allocate(sizeof(Descriptor) * kMaxSegments * size_, 16));
  if (descriptors_ == nullptr || avail_ == nullptr || used_ == nullptr || indirect_ == nullptr) {
    return "no memory for a queue";
  }
  for (uint16_t i = 0; i < size_; i++) descriptors_[i].next = static_cast<uint16_t>(i + 1);
  free_head_ = 0;
  free_count_ = size_;
  next_avail_ = published_ = last_used_ = 0;
  device.write(kQueueNum, size_);
  set_address(device, kQueueDescLow, descriptors_);
  set_address(device, kQueueDriverLow, avail_);
  set_address(device, kQueueDeviceLow, used_);
  device.write(kQueueReady, 1);
  ask_for_interrupt(device.uses_interrupts());
  return nullptr;
}

uint16_t Virtqueue::add_indirect(std::span<const Segment> segments) {
  const uint16_t head = free_head_;
  Descriptor* table = indirect_ + head * kMaxSegments;
  for (size_t i = 0; i < segments.size(); i++) {
    table[i] = describe(segments[i], i + 1 == segments.size(), static_cast<uint16_t>(i + 1));
  }
  Descriptor& descriptor = descriptors_[head];
  free_head_ = descriptor.next;
  free_count_--;
  descriptor = {reinterpret_cast<uint64_t>(table),
                static_cast<uint32_t>(segments.size() * sizeof(Descriptor)), kDescriptorIndirect,
                0};
  return head;
}

uint16_t Virtqueue::add_chain(std::span<const Segment> segments) {
  const uint16_t head = free_head_;
  for (size_t i = 0; i < segments.size(); i++) {
    Descriptor& descriptor = descriptors_[free_head_];
    free_head_ = descriptor.next;
    descriptor = describe(segments[i], i + 1 == segments.size(), descriptor.next);
  }
  free_count_ = static_cast<uint16_t>(free_count_ - segments.size());
  return head;
}

uint16_t Virtqueue::add(std::span<const Segment> segments) {
  const bool indirect = device_->has(kFeatureIndirect) && segments.size() > 1;
  if (segments.empty() || segments.size() > kMaxSegments ||
      free_count_ < (indirect ? 1 : segments.size())) {
    return kNoRoom;
  }
  const uint16_t head = indirect ? add_indirect(segments) : add_chain(segments);
  avail_->ring[next_avail_++ % size_] = head;
  return head;
}

uint16_t Virtqueue::avail_event() const {
  return *reinterpret_cast<const volatile uint16_t*>(&used_->ring[size_]);
}

// 2.7.10: with EVENT_IDX the device asks for a notification once its event index is passed.
void Virtqueue::kick() {
  const uint16_t before = published_;
  if (before == next_avail_) return;
  std::atomic_thread_fence(std::memory_order_release);
  avail_->index = published_ = next_avail_;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  bool wanted = (used_->flags & kNoNotify) == 0;
  if (device_->has(kFeatureEventIdx)) {
    wanted = static_cast<uint16_t>(published_ - avail_event() - 1) <
             static_cast<uint16_t>(published_ - before);
  }
  if (!wanted) return;
  kicks_++;
  notify();
}

void Virtqueue::free_chain(uint16_t head) {
  uint16_t last = head;
  free_count_++;
  while ((descriptors_[last].flags & kDescriptorNext) != 0) {
    last = descriptors_[last].next;
    free_count_++;
  }
  descriptors_[last].next = free_head_;
  free_head_ = head;
}

bool Virtqueue::take(Completion& completion) {
  if (used_->index == last_used_) return false;
  std::atomic_thread_fence(std::memory_order_acquire);
  const volatile UsedElement& element = used_->ring[last_used_ % size_];
  completion = {static_cast<uint16_t>(element.id), element.length};
  last_used_++;
  if (completion.token < size_) free_chain(completion.token);
  return true;
}

// With EVENT_IDX "no interrupt" is an index that has just been passed.
void Virtqueue::ask_for_interrupt(bool wanted) {
  avail_->flags = wanted ? 0 : kNoInterrupt;
  used_event() = static_cast<uint16_t>(wanted ? last_used_ : last_used_ - 1);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

Failure Virtqueue::idle() {
  if (!device_->uses_interrupts()) {
    pause();
    return nullptr;
  }
  ask_for_interrupt(true);
  return used_->index == last_used_ ? device_->wait_for_interrupt() : nullptr;
}

Failure Virtqueue::wait(Completion& completion) {
  const Deadline deadline(kDeviceTimeoutMs);
  while (!take(completion)) {
    if (deadline.passed()) return "the device does not answer";
    if (Failure failure = idle()) return failure;
  }
  return nullptr;
}

}  // namespace hull::guest
