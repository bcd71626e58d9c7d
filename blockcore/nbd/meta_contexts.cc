#include "blockcore/nbd/meta_contexts.h"

#include <algorithm>

namespace hull::blockcore::nbd {

namespace {

// Looks at metadata for one request: a server may describe less than it was asked for.
constexpr unsigned kMaxLooks = 8192;

class StatusContext final : public MetaContext {
 public:
  using Flags = uint32_t (*)(const BlockStatus& status);
  StatusContext(Disk& disk, std::string_view name, Flags flags)
      : disk_(disk), name_(name), flags_(flags) {}

  std::string_view name() const override { return name_; }

  Task<Result<std::vector<ExtentDescriptor>>> extents(uint64_t offset, uint32_t length,
                                                      size_t most) override {
    std::vector<ExtentDescriptor> extents;
    uint32_t done = 0;
    for (unsigned looks = 0; done < length && looks < kMaxLooks; ++looks) {
      CO_TRY(const BlockStatus status, co_await disk_.block_status(offset + done, length - done));
      const uint32_t flags = flags_(status);
      if (extents.size() == most && extents.back().flags != flags) break;
      const auto step = static_cast<uint32_t>(std::min<uint64_t>(status.length, length - done));
      add_extent(extents, step, flags);
      done += step;
    }
    co_return extents;
  }

 private:
  Disk& disk_;
  const std::string_view name_;
  const Flags flags_;
};

uint32_t allocation_flags(const BlockStatus& status) {
  return (status.data ? 0 : kStateHole) | (status.zero ? kStateZero : 0);
}

uint32_t depth_flags(const BlockStatus& status) { return status.present ? status.depth + 1 : 0; }

}  // namespace

void add_extent(std::vector<ExtentDescriptor>& extents, uint32_t length, uint32_t flags) {
  if (!extents.empty() && extents.back().flags == flags)
    extents.back().length = extents.back().length + length;
  else
    extents.push_back({.length = length, .flags = flags});
}

std::unique_ptr<MetaContext> make_allocation_context(Disk& disk) {
  return std::make_unique<StatusContext>(disk, kAllocationContext, allocation_flags);
}

std::unique_ptr<MetaContext> make_depth_context(Disk& disk) {
  return std::make_unique<StatusContext>(disk, kDepthContext, depth_flags);
}

}  // namespace hull::blockcore::nbd
