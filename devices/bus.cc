#include "devices/bus.h"

#include <algorithm>
#include <thread>

#include "base/check.h"
#include "base/checked.h"

namespace hull::devices {

struct Bus::Range {
  uint64_t base;
  uint64_t size;
  BusDevice* device;
  int priority;
  uint64_t id;

  uint64_t last() const { return base + (size - 1); }
  bool holds(uint64_t address) const { return address >= base && address - base < size; }
  bool overlaps(const Range& other) const { return holds(other.base) || other.holds(base); }
};

// The ranges, cut at each of their ends: between two cuts the same ranges answer.
class Bus::Table {
 public:
  explicit Table(std::vector<Range> ranges);
  const std::vector<Range>& ranges() const { return ranges_; }
  const Range* find(uint64_t address, size_t length) const;

 private:
  struct Cut {
    uint64_t first;       // address; up to that of the next cut
    size_t begin, count;  // in answering_
  };
  std::vector<Range> ranges_;
  std::vector<Cut> cuts_;          // ascending
  std::vector<size_t> answering_;  // indices of ranges_, of a cut by falling priority
};

Bus::Table::Table(std::vector<Range> ranges) : ranges_(std::move(ranges)) {
  std::ranges::sort(ranges_, std::ranges::greater(), &Range::priority);
  std::vector<uint64_t> ends;
  for (const Range& range : ranges_) {
    ends.push_back(range.base);
    if (range.last() != UINT64_MAX) ends.push_back(range.last() + 1);
  }
  std::ranges::sort(ends);
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  for (const uint64_t first : ends) {
    const size_t begin = answering_.size();
    for (size_t i = 0; i < ranges_.size(); ++i)
      if (ranges_[i].holds(first)) answering_.push_back(i);
    cuts_.push_back({first, begin, answering_.size() - begin});
  }
}

const Bus::Range* Bus::Table::find(uint64_t address, size_t length) const {
  const auto next = std::ranges::upper_bound(cuts_, address, {}, &Cut::first);
  if (next == cuts_.begin()) return nullptr;
  const Cut& cut = *std::prev(next);
  for (const size_t index : std::span(answering_).subspan(cut.begin, cut.count)) {
    const Range& range = ranges_[index];
    if (range_fits<uint64_t>(address - range.base, length, range.size)) return &range;
  }
  return nullptr;
}

// Keeps the table alive from the look-up to the end of the access.
class Bus::Initiator::Use {
 public:
  explicit Use(Initiator& initiator) : in_use_(initiator.in_use_) {
    CHECK(in_use_.load(std::memory_order_relaxed) == nullptr);
    const std::atomic<const Table*>& current = initiator.bus_.table_;
    table_ = current.load();
    // Whoever replaces the table looks at in_use_ afterwards. So if the table is still the current
    // one after in_use_ was written, it will be seen there and live on.
    for (;;) {
      in_use_.store(table_);
      const Table* now = current.load();
      if (now == table_) break;
      table_ = now;
    }
  }
  ~Use() { in_use_.store(nullptr, std::memory_order_release); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  const Range* find(uint64_t address, size_t length) const { return table_->find(address, length); }

 private:
  std::atomic<const Table*>& in_use_;
  const Table* table_;
};

Bus::Initiator::Initiator(Bus& bus) : bus_(bus) {
  const MutexLock lock(bus_.mutex_);
  bus_.initiators_.push_back(this);
}

Bus::Initiator::~Initiator() {
  const MutexLock lock(bus_.mutex_);
  std::erase(bus_.initiators_, this);
}

bool Bus::Initiator::read(uint64_t address, std::span<uint8_t> data) {
  const Use use(*this);
  const Range* range = use.find(address, data.size());
  if (range == nullptr) {
    std::ranges::fill(data, uint8_t{0xff});
    return false;
  }
  range->device->read(address - range->base, data);
  return true;
}

bool Bus::Initiator::write(uint64_t address, std::span<const uint8_t> data) {
  const Use use(*this);
  const Range* range = use.find(address, data.size());
  if (range == nullptr) return false;
  range->device->write(address - range->base, data);
  return true;
}

Bus::Bus() {
  const MutexLock lock(mutex_);
  publish(std::make_unique<const Table>(std::vector<Range>{}));
}

Bus::~Bus() {
  const MutexLock lock(mutex_);
  CHECK(initiators_.empty() && current_->ranges().empty());
}

Result<Bus::Region> Bus::map(uint64_t base, uint64_t size, BusDevice& device, int priority) {
  CHECK(size != 0);
  if (size - 1 > UINT64_MAX - base)
    return fail(ErrorKind::kOutOfRange, "{}: {:#x} bytes at {:#x} leave the address space",
                device.name(), size, base);
  const MutexLock lock(mutex_);
  const Range added{base, size, &device, priority, next_id_};
  for (const Range& there : current_->ranges())
    if (there.priority == priority && there.overlaps(added))
      return fail(ErrorKind::kBusy, "{}: {} is already at {:#x}", device.name(),
                  there.device->name(), there.base);
  std::vector<Range> ranges = current_->ranges();
  ranges.push_back(added);
  publish(std::make_unique<const Table>(std::move(ranges)));
  return Region(this, next_id_++);
}

void Bus::unmap(uint64_t id) {
  const MutexLock lock(mutex_);
  std::vector<Range> ranges = current_->ranges();
  std::erase_if(ranges, [id](const Range& range) { return range.id == id; });
  publish(std::make_unique<const Table>(std::move(ranges)));
}

void Bus::publish(std::unique_ptr<const Table> table) {
  table_.store(table.get());
  if (current_ != nullptr) retired_.push_back(std::move(current_));
  current_ = std::move(table);
  free_unused_tables();
}

void Bus::free_unused_tables() {
  std::erase_if(retired_, [this](const std::unique_ptr<const Table>& table) REQUIRES(mutex_) {
    return std::ranges::none_of(
        initiators_, [&](const Initiator* user) { return user->in_use_.load() == table.get(); });
  });
}

bool Bus::wait_for_accesses(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    {
      // Not held while waiting: the access that is under way may want to change the table.
      const MutexLock lock(mutex_);
      free_unused_tables();
      if (retired_.empty()) return true;
    }
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

}  // namespace hull::devices
