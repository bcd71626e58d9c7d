#include "firmware/guest/block.h"

#include "firmware/guest/memory.h"

namespace hull::guest {

Failure BlockDevice::open(const Args& args) { return open(args.number("dev", 0)); }

Failure BlockDevice::open(uint64_t index) {
  if (Failure failure = transport_.find(kBlockDevice, index)) return failure;
  constexpr uint64_t kWanted = kFeatureIndirect | kFeatureEventIdx | kBlkReadOnly | kBlkBlockSize |
                               kBlkFlush | kBlkDiscard | kBlkWriteZeroes;
  if (Failure failure = transport_.negotiate(kWanted)) return failure;
  if (Failure failure = queue_.set_up(transport_, 0)) return failure;
  headers_ = static_cast<BlockRequestHeader*>(allocate(sizeof(BlockRequestHeader) * queue_.size()));
  statuses_ = static_cast<uint8_t*>(allocate(queue_.size()));
  if (headers_ == nullptr || statuses_ == nullptr) return "no memory for requests";
  if (Failure failure = transport_.start()) return failure;
  sectors_ = transport_.config64(0);
  return nullptr;
}

bool BlockDevice::submit(uint32_t type, uint64_t sector, void* data, uint32_t length,
                         uint16_t& token) {
  token = queue_.next_token();
  if (token == Virtqueue::kNoRoom) return false;
  headers_[token] = {type, 0, sector};
  statuses_[token] = kBlkNoStatus;
  const bool device_writes = type == kBlkIn || type == kBlkGetId;
  const Segment header{&headers_[token], sizeof(BlockRequestHeader), false};
  const Segment status{&statuses_[token], 1, true};
  const Segment with_data[] = {header, {data, length, device_writes}, status};
  const Segment without_data[] = {header, status};
  const uint16_t added = length != 0 ? queue_.add(with_data) : queue_.add(without_data);
  return added != Virtqueue::kNoRoom;
}

bool BlockDevice::collect(uint16_t& token, uint8_t& status) {
  Completion completion;
  if (!queue_.take(completion) || completion.token >= queue_.size()) return false;
  token = completion.token;
  status = static_cast<volatile uint8_t&>(statuses_[token]);
  return true;
}

Failure BlockDevice::run(uint32_t type, uint64_t sector, void* data, uint32_t length,
                         uint8_t& status) {
  uint16_t token;
  if (!submit(type, sector, data, length, token)) return "no room in the queue";
  queue_.kick();
  Completion completion;
  if (Failure failure = queue_.wait(completion)) return failure;
  if (completion.token != token) return "the device answered another request";
  status = static_cast<volatile uint8_t&>(statuses_[token]);
  const bool device_writes = type == kBlkIn || type == kBlkGetId;
  const uint32_t expected = 1 + (device_writes && status == kBlkOk ? length : 0);
  if (status == kBlkOk && completion.length != expected) return "wrong length in the used ring";
  return nullptr;
}

Failure BlockDevice::run_ok(uint32_t type, uint64_t sector, void* data, uint32_t length) {
  uint8_t status = kBlkNoStatus;
  if (Failure failure = run(type, sector, data, length, status)) return failure;
  switch (status) {
    case kBlkOk: return nullptr;
    case kBlkIoError: return "status IOERR";
    case kBlkUnsupported: return "status UNSUPP";
    default: return "no valid status";
  }
}

}  // namespace hull::guest
