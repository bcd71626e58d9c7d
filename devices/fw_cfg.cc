#include "devices/fw_cfg.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/endian.h"

namespace hull::devices {

namespace {

constexpr uint16_t kWriteChannel = 0x4000;  // of a key: without a meaning today
constexpr uint32_t kHasTransfers = 3;       // of kFeatures: both ways to read

// FWCfgDmaAccess.
struct Transfer {
  Be32 control;
  Be32 length;
  Be64 address;
};
static_assert(sizeof(Transfer) == 16);

constexpr uint32_t kError = 1u << 0;
constexpr uint32_t kRead = 1u << 1;
constexpr uint32_t kSkip = 1u << 2;
constexpr uint32_t kSelect = 1u << 3;
constexpr uint32_t kWrite = 1u << 4;

// FWCfgFile.
struct Entry {
  Be32 size;
  Be16 key;
  Be16 reserved{0};
  char name[FwCfg::kMaxNameBytes + 1]{};
};
static_assert(sizeof(Entry) == 64);

template <class T>
void append(std::vector<uint8_t>& bytes, const T& value) {
  const auto* first = reinterpret_cast<const uint8_t*>(&value);
  bytes.insert(bytes.end(), first, first + sizeof value);
}

// What the address ports read as: "QEMU CFG".
constexpr uint8_t kTransferSignature[8] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};

uint32_t big_endian(std::span<const uint8_t> data) {
  Be32 value;
  std::memcpy(&value, data.data(), sizeof value);
  return value;
}

}  // namespace

FwCfg::FwCfg(const GuestMemory& memory, std::map<uint16_t, Bytes> items,
             std::map<std::string, Bytes> files)
    : memory_(memory), items_(std::move(items)) {
  CHECK(files.size() <= kMaxFiles);
  items_[kSignature] = {'Q', 'E', 'M', 'U'};
  items_[kFeatures] = {kHasTransfers, 0, 0, 0};
  Bytes& directory = items_[kDirectory];
  append(directory, Be32(static_cast<uint32_t>(files.size())));
  uint16_t key = kFirstFile;
  for (auto& [name, bytes] : files) {
    CHECK(!name.empty() && name.size() <= kMaxNameBytes && bytes.size() <= UINT32_MAX);
    Entry entry{.size = static_cast<uint32_t>(bytes.size()), .key = key};
    std::memcpy(entry.name, name.data(), name.size());
    append(directory, entry);
    items_[key++] = std::move(bytes);
  }
}

void FwCfg::read(uint64_t offset, std::span<uint8_t> data) {
  std::ranges::fill(data, uint8_t{0xff});
  if (offset >= kAddressHigh && offset < kPortCount) {
    const auto signature = std::span(kTransferSignature).subspan(offset - kAddressHigh);
    std::ranges::copy(signature.first(std::min(signature.size(), data.size())), data.begin());
    return;
  }
  if (offset != kData || data.size() != 1) return;
  MutexLock lock(mutex_);
  const std::span<const uint8_t> next = take(1);
  data[0] = next.empty() ? 0 : next[0];
}

void FwCfg::write(uint64_t offset, std::span<const uint8_t> data) {
  MutexLock lock(mutex_);
  if (offset == kSelector && data.size() == 2)
    return select(static_cast<uint16_t>(data[0] | data[1] << 8));
  if (offset == kAddressHigh && data.size() == 4) {
    address_ = uint64_t{big_endian(data)} << 32;
  } else if (offset == kAddressLow && data.size() == 4) {
    address_ |= big_endian(data);
    transfer();
    address_ = 0;
  }
}

void FwCfg::select(uint16_t key) {
  key_ = key & static_cast<uint16_t>(~kWriteChannel);
  offset_ = 0;
}

std::span<const uint8_t> FwCfg::take(uint32_t length) {
  const auto item = items_.find(key_);
  if (item == items_.end()) return {};
  const std::span<const uint8_t> rest = std::span(item->second).subspan(offset_);
  const auto taken = rest.first(std::min<size_t>(rest.size(), length));
  offset_ += static_cast<uint32_t>(taken.size());
  return taken;
}

void FwCfg::transfer() {
  const auto order = memory_.slice(GuestAddress{address_}, sizeof(Transfer));
  if (!order) return;  // there is no place for an answer
  const uint32_t control = order->read<Be32>(offsetof(Transfer, control));
  const uint32_t length = order->read<Be32>(offsetof(Transfer, length));
  const uint64_t address = order->read<Be64>(offsetof(Transfer, address));
  const bool obeyed = obey(control, length, address);
  order->write(offsetof(Transfer, control), Be32(obeyed ? 0 : kError));
}

bool FwCfg::obey(uint32_t control, uint32_t length, uint64_t address) {
  if ((control & kSelect) != 0) select(static_cast<uint16_t>(control >> 16));
  if ((control & kRead) != 0) {
    const auto target = memory_.slice(GuestAddress{address}, length);
    if (!target || length > kMaxTransferBytes) return false;
    const std::span<const uint8_t> bytes = take(length);
    target->subslice(0, bytes.size()).copy_from(bytes);
    target->subslice(bytes.size(), length - bytes.size()).fill(0);
    return true;
  }
  if ((control & kWrite) != 0) return false;
  if ((control & kSkip) != 0) take(length);
  return true;
}

void FwCfg::save(StateWriter& out) const {
  MutexLock lock(mutex_);
  const auto section = out.section(name(), 1);
  out.u16(key_);
  out.u32(offset_);
  out.u64(address_);
}

Result<void> FwCfg::load(StateReader& in) {
  StateReader section = TRY(in.section(name(), 1));
  const uint16_t key = section.u16();
  const uint32_t offset = section.u32();
  const uint64_t address = section.u64();
  const auto item = items_.find(key);
  if (offset > (item == items_.end() ? 0 : item->second.size()))
    section.reject("an offset behind the item's end");
  TRY(section.end());

  MutexLock lock(mutex_);
  key_ = key;
  offset_ = offset;
  address_ = address;
  return {};
}

}  // namespace hull::devices
