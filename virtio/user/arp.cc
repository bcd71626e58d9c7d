#include "virtio/user/arp.h"

#include <cstring>

namespace hull::virtio {

namespace {

constexpr uint16_t kEthernet = 1;
constexpr uint16_t kRequest = 1;
constexpr uint16_t kReply = 2;

}  // namespace

ArpFrame ask_for(const std::array<uint8_t, 6>& mac, uint32_t address, uint32_t target) {
  return {
      .ethernet = {.target = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, .source = mac, .type = kArpType},
      .body = {.hardware = kEthernet,
               .protocol = kIpv4Type,
               .hardware_bytes = 6,
               .protocol_bytes = 4,
               .operation = kRequest,
               .sender_mac = mac,
               .sender = address,
               .target_mac = {},
               .target = target}};
}

bool is_answer(std::span<const uint8_t> frame, uint32_t address) {
  ArpFrame answer;
  if (frame.size() < sizeof answer) return false;
  std::memcpy(&answer, frame.data(), sizeof answer);
  return answer.ethernet.type == kArpType && answer.body.operation == kReply &&
         answer.body.sender == address;
}

}  // namespace hull::virtio
