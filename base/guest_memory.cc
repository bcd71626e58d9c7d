#include "base/guest_memory.h"

#include "base/checked.h"

namespace hull {

namespace {

Result<Mapping> map_region(uint64_t size_bytes, const GuestMemory::Options& options) {
  Mapping mapping =
      TRY(options.huge_pages ? Mapping::huge_pages(size_bytes) : Mapping::anonymous(size_bytes));
  if (options.locked) {
    // Locking touches all of it, which is too late for advise_huge_pages().
    ::madvise(mapping.data(), size_bytes, MADV_HUGEPAGE);
    if (::mlock(mapping.data(), size_bytes) != 0) {
      const Error error = Error::from_errno("lock the guest's memory");
      return fail(ErrorKind::kHost, "{}; raise the limit ('ulimit -l')", error.message());
    }
  }
  if (!options.dumpable && ::madvise(mapping.data(), size_bytes, MADV_DONTDUMP) != 0)
    return std::unexpected(Error::from_errno("keep the guest's memory out of core dumps"));
  return mapping;
}

}  // namespace

Result<GuestMemory> GuestMemory::create(std::span<const Range> ranges, const Options& options) {
  std::vector<Region> regions;
  uint64_t end = 0;
  for (const Range& range : ranges) {
    const uint64_t start = to_number(range.start);
    CHECK(range.size_bytes != 0 && is_aligned<uint64_t>(range.size_bytes, 4096));
    CHECK(start >= end && checked_add(start, range.size_bytes));
    end = start + range.size_bytes;
    regions.push_back({range, TRY(map_region(range.size_bytes, options))});
  }
  return GuestMemory(std::move(regions));
}

std::optional<GuestSlice> GuestMemory::slice(GuestAddress address, uint64_t length) const {
  const uint64_t start = to_number(address);
  for (const Region& region : regions_) {
    const uint64_t base = to_number(region.range.start);
    if (start < base || start - base >= region.range.size_bytes) continue;
    if (!range_fits(start - base, length, region.range.size_bytes)) return std::nullopt;
    return GuestSlice(region.mapping.data() + (start - base), length);
  }
  return std::nullopt;
}

void GuestMemory::advise_huge_pages() const {
  for (const Region& region : regions_)
    ::madvise(region.mapping.data(), region.range.size_bytes, MADV_HUGEPAGE);
}

uint64_t GuestMemory::size_bytes() const {
  uint64_t total = 0;
  for (const Region& region : regions_) total += region.range.size_bytes;
  return total;
}

}  // namespace hull
