#include "firmware/guest/hostile.h"

#include <atomic>

#include "firmware/guest/block.h"
#include "firmware/guest/clock.h"
#include "firmware/guest/console.h"
#include "firmware/guest/memory.h"
#include "firmware/guest/net.h"
#include "firmware/guest/program.h"

namespace hull::guest {
namespace {

constexpr uint64_t kLongMs = 5000;
constexpr uint64_t kShortMs = 200;
constexpr uint16_t kQueueSize = 64;
constexpr uint32_t kStatusOffset = 2048;  // in the scratch memory: header at 0, data at 1024
constexpr uint32_t kDataOffset = 1024;

}  // namespace

std::string_view name_of(Result result) {
  switch (result) {
    case kBroken: return "needs-reset";
    case kRefused: return "refused";
    case kError: return "error-status";
    case kNoStatus: return "no-status";
    case kDone: return "done";
    case kIgnored: return "ignored";
  }
  return "?";
}

Failure Victim::find(const Args& args) {
  const std::string_view kind = args.text("device", "blk");
  id_ = kind == "net" ? kNetDevice : kind == "rng" ? kEntropyDevice : kBlockDevice;
  if (Failure failure = device_.find(id_, args.number("dev", 0))) return failure;
  scratch_ = static_cast<uint8_t*>(allocate(kScratchSize));
  return scratch_ == nullptr ? "no memory" : nullptr;
}

Failure Victim::reset() {
  used_ = nullptr;
  return device_.reset();
}

Failure Victim::negotiate(uint64_t features) {
  used_ = nullptr;
  return device_.negotiate(features);
}

Failure Victim::set_up_queues() {
  if (id_ == kNetDevice) {
    if (Failure failure = other_queue_.set_up(device_, 0, kQueueSize)) return failure;
  }
  return queue_.set_up(device_, queue_index(), kQueueSize);
}

Failure Victim::start(uint64_t features) {
  if (Failure failure = negotiate(features)) return failure;
  if (Failure failure = set_up_queues()) return failure;
  used_ = queue_.used();
  return device_.start();
}

QueueSetup Victim::good_setup() {
  return {kQueueSize, reinterpret_cast<uint64_t>(allocate(sizeof(Descriptor) * kMaxQueueSize)),
          reinterpret_cast<uint64_t>(allocate(sizeof(AvailRing))),
          reinterpret_cast<uint64_t>(allocate(sizeof(UsedRing)))};
}

void Victim::apply(const QueueSetup& setup) {
  device_.write(kQueueSel, queue_index());
  device_.write(kQueueNum, setup.size);
  const uint64_t addresses[] = {setup.descriptors, setup.driver, setup.device};
  const uint32_t registers[] = {kQueueDescLow, kQueueDriverLow, kQueueDeviceLow};
  for (int i = 0; i < 3; i++) {
    device_.write(registers[i], static_cast<uint32_t>(addresses[i]));
    device_.write(registers[i] + 4, static_cast<uint32_t>(addresses[i] >> 32));
  }
  device_.write(kQueueReady, 1);
}

std::span<Segment> Victim::good_request() {
  if (id_ == kEntropyDevice) {
    request_[0] = {scratch_, 16, true};
    return {request_, 1};
  }
  if (id_ == kNetDevice) {
    request_[0] = {scratch_, sizeof(NetHeader) + 60, false};
    return {request_, 1};
  }
  auto* header = reinterpret_cast<BlockRequestHeader*>(scratch_);
  *header = {kBlkIn, 0, 0};
  scratch_[kStatusOffset] = kBlkNoStatus;
  request_[0] = {header, sizeof(*header), false};
  request_[1] = {scratch_ + kDataOffset, kSectorSize, true};
  request_[2] = {scratch_ + kStatusOffset, 1, true};
  return {request_, 3};
}

void Victim::lay_chain(uint16_t first, std::span<const Segment> segments) {
  for (size_t i = 0; i < segments.size(); i++) {
    uint16_t flags = segments[i].device_writes ? kDescriptorWrite : 0;
    if (i + 1 < segments.size()) flags |= kDescriptorNext;
    queue_.descriptors()[first + i] = {reinterpret_cast<uint64_t>(segments[i].address),
                                       segments[i].length, flags,
                                       static_cast<uint16_t>(first + i + 1)};
  }
}

void Victim::offer(std::span<const uint16_t> heads) {
  volatile AvailRing* avail = queue_.avail();
  uint16_t index = avail->index;
  for (uint16_t head : heads) avail->ring[index++ % queue_.size()] = head;
  std::atomic_thread_fence(std::memory_order_release);
  avail->index = index;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  queue_.notify();
}

Result Victim::watch(uint32_t accepted) {
  const Deadline deadline((accepted & kIgnored) != 0 ? kShortMs : kLongMs);
  while (!deadline.passed()) {
    const uint32_t status = device_.read(kStatus);
    if ((status & kNeedsReset) != 0) return kBroken;
    if ((status & kDriverOk) == 0) return kRefused;
    if (used_ == nullptr || used_->index == 0) continue;
    std::atomic_thread_fence(std::memory_order_acquire);
    if (!is_block()) return kDone;
    const uint8_t answer = static_cast<volatile uint8_t&>(scratch_[kStatusOffset]);
    if (answer == kBlkNoStatus) return kNoStatus;
    return answer == kBlkOk ? kDone : kError;
  }
  return kIgnored;
}

Failure Victim::probe() {
  if (Failure failure = start()) return failure;
  const uint16_t token = queue_.add(good_request());
  queue_.kick();
  Completion completion;
  if (Failure failure = queue_.wait(completion)) return failure;
  if (completion.token != token) return "another request was answered";
  if (is_block() && scratch_[kStatusOffset] != kBlkOk) return "the request failed";
  return reset();
}

namespace {

using AttackList = std::span<const Attack> (*)();
constexpr AttackList kLists[] = {setup_attacks, ring_attacks, block_attacks, transport_attacks};

Failure run_attack(Victim& victim, const Attack& attack, const Args& args, uint64_t& unexpected) {
  MemoryScope scope;
  const uint32_t accepted = args.has("lenient") ? kAnyResult : attack.accepted;
  const Result result = attack.run(victim, accepted, args);
  const bool expected = (result & accepted) != 0;
  if (!expected) unexpected++;
  Line line("hostile");
  line.text("attack", attack.name).text("result", name_of(result));
  if (!expected) line.words("unexpected");
  if (victim.reset() != nullptr) return "no reset after an attack";
  return victim.probe();
}

Failure hostile(const Args& args) {
  Victim victim;
  if (Failure failure = victim.find(args)) return failure;
  if (Failure failure = victim.probe()) return failure;
  const std::string_view wanted = args.text("attack", "all");
  uint64_t count = 0;
  uint64_t unexpected = 0;
  for (AttackList list : kLists) {
    for (const Attack& attack : list()) {
      if (wanted != "all" && wanted != attack.name) continue;
      if (attack.block_only && !victim.is_block()) continue;
      count++;
      if (Failure failure = run_attack(victim, attack, args, unexpected)) {
        Line("hostile").text("attack", attack.name).words("broke the device");
        return failure;
      }
    }
  }
  Line("hostile").number("attacks", count).number("unexpected", unexpected);
  if (count == 0) return "no such attack";
  return unexpected == 0 ? nullptr : "unexpected results";
}

constexpr Program kPrograms[] = {{"hostile", hostile}};

}  // namespace

std::span<const Program> hostile_programs() { return kPrograms; }

}  // namespace hull::guest
