#include "firmware/guest/net.h"

#include <cstring>

#include "firmware/guest/memory.h"

namespace hull::guest {
namespace {

constexpr uint16_t kReceiveQueue = 0;
constexpr uint16_t kSendQueue = 1;
constexpr uint32_t kSmallBuffer = 2048;

}  // namespace

Failure NetDevice::open(const Args& args) {
  if (Failure failure = transport_.find(kNetDevice, args.number("dev", 0))) return failure;
  uint64_t wanted =
      kFeatureIndirect | kFeatureEventIdx | kNetMtu | kNetMac | kNetStatus | kNetMergeable;
  if (args.has("offload")) wanted |= kNetOffloads;
  if (Failure failure = transport_.negotiate(wanted)) return failure;
  if (Failure failure = receive_queue_.set_up(transport_, kReceiveQueue)) return failure;
  if (Failure failure = send_queue_.set_up(transport_, kSendQueue)) return failure;
  mac_ = {{0x52, 0x54, 0, 0, 0, 1}};
  for (uint32_t i = 0; transport_.has(kNetMac) && i < 6; i++) mac_.bytes[i] = transport_.config8(i);
  if (Failure failure = transport_.start()) return failure;
  return prepare_buffers();
}

// 5.1.6.3.1: without mergeable buffers, one that takes a whole TSO frame is needed.
Failure NetDevice::prepare_buffers() {
  const bool large = transport_.has(kNetGuestTso4) && !transport_.has(kNetMergeable);
  buffer_size_ = large ? kMaxFrame + sizeof(NetHeader) : kSmallBuffer;
  receive_buffers_ =
      static_cast<uint8_t*>(allocate(uint64_t{buffer_size_} * receive_queue_.size()));
  joined_ = static_cast<uint8_t*>(allocate(kMaxFrame + kSmallBuffer));
  send_slots_ = static_cast<SendSlot*>(allocate(sizeof(SendSlot) * kSendSlots));
  if (receive_buffers_ == nullptr || joined_ == nullptr || send_slots_ == nullptr) {
    return "no memory for frames";
  }
  for (uint16_t i = 0; i < kSendSlots; i++) free_slots_[free_slot_count_++] = i;
  for (uint16_t i = 0; i < receive_queue_.size(); i++) offer(i);
  receive_queue_.kick();
  return nullptr;
}

void NetDevice::offer(uint16_t buffer) {
  const Segment segment[] = {
      {receive_buffers_ + uint64_t{buffer} * buffer_size_, buffer_size_, true}};
  const uint16_t token = receive_queue_.add(segment);
  if (token != Virtqueue::kNoRoom) buffer_of_[token] = buffer;
}

uint64_t NetDevice::reclaim() {
  uint64_t sent = 0;
  Completion completion;
  while (send_queue_.take(completion)) {
    if (completion.token < send_queue_.size())
      free_slots_[free_slot_count_++] = slot_of_[completion.token];
    sent++;
  }
  return sent;
}

uint8_t* NetDevice::frame_to_send() {
  if (free_slot_count_ == 0 || send_queue_.next_token() == Virtqueue::kNoRoom) return nullptr;
  return send_slots_[free_slots_[free_slot_count_ - 1]].frame;
}

// The header and the frame lie one after the other: one descriptor.
void NetDevice::send(uint32_t length, const NetHeader& header) {
  const uint16_t index = free_slots_[--free_slot_count_];
  SendSlot& slot = send_slots_[index];
  slot.header = header;
  const Segment segment[] = {{&slot, static_cast<uint32_t>(sizeof(NetHeader)) + length, false}};
  slot_of_[send_queue_.add(segment)] = index;
}

uint32_t NetDevice::receive(const uint8_t*& frame) {
  if (holding_) {
    offer(held_);
    receive_queue_.kick();
  }
  holding_ = false;
  Completion completion;
  if (!receive_queue_.take(completion) || completion.token >= receive_queue_.size()) return 0;
  held_ = buffer_of_[completion.token];
  holding_ = true;
  const uint8_t* buffer = receive_buffers_ + uint64_t{held_} * buffer_size_;
  if (completion.length <= sizeof(NetHeader) || completion.length > buffer_size_) return 0;
  uint32_t size = completion.length - static_cast<uint32_t>(sizeof(NetHeader));
  NetHeader header;
  memcpy(&header, buffer, sizeof(header));
  frame = buffer + sizeof(header);
  if (!transport_.has(kNetMergeable) || header.buffers <= 1) return size;
  memcpy(joined_, frame, size);
  for (uint16_t i = 1; i < header.buffers && size <= kMaxFrame; i++) {
    if (receive_queue_.wait(completion) != nullptr || completion.token >= receive_queue_.size())
      return 0;
    const uint16_t next = buffer_of_[completion.token];
    const uint32_t part = completion.length < buffer_size_ ? completion.length : buffer_size_;
    memcpy(joined_ + size, receive_buffers_ + uint64_t{next} * buffer_size_, part);
    size += part;
    offer(next);
  }
  frame = joined_;
  return size;
}

}  // namespace hull::guest
