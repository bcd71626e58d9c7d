#include "base/guest_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/checked.h"

namespace hull {

namespace {

constexpr size_t kHugePageBytes = 2 << 20;

Result<UniqueFd> make_memfd(uint64_t size_bytes, bool huge_pages) {
  const unsigned flags = MFD_CLOEXEC | (huge_pages ? MFD_HUGETLB : 0U);
  UniqueFd fd(::memfd_create("hull-guest", flags));
  if (!fd.valid()) return std::unexpected(Error::of_host("memfd_create"));
  const uint64_t page_bytes = huge_pages ? default_huge_page_bytes() : 4096;
  // Rounded as a mapping of such pages is.
  const uint64_t file_bytes = divide_up(size_bytes, page_bytes) * page_bytes;
  if (::ftruncate(fd.get(), static_cast<off_t>(file_bytes)) < 0)
    return std::unexpected(Error::of_host("give the guest's memory its size"));
  return fd;
}

Result<void> check_file(const MemoryRegion& wanted) {
  struct stat facts{};
  if (::fstat(wanted.file, &facts) < 0) return std::unexpected(Error::from_errno("fstat"));
  const auto size = static_cast<uint64_t>(std::max<off_t>(facts.st_size, 0));
  if (!range_fits(wanted.file_offset, wanted.size_bytes, align_up<uint64_t>(size, 4096)))
    return fail(ErrorKind::kOutOfRange,
                "a region of {} bytes at offset {} does not fit into a file of {} bytes",
                wanted.size_bytes, wanted.file_offset, size);
  return {};
}

Result<Mapping> map_anonymous(const MemoryRegion& wanted, bool huge_pages, Mapping::Place place) {
  return huge_pages ? Mapping::huge_pages(wanted.size_bytes, place)
                    : Mapping::anonymous(wanted.size_bytes, place);
}

Result<Mapping> map_file(const MemoryRegion& wanted, int fd, int flags, Mapping::Place place) {
  const bool of_caller = wanted.backing == MemoryBacking::kPrivateFile;
  return Mapping::of_file(fd, of_caller ? wanted.file_offset : 0, wanted.size_bytes,
                          PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, place);
}

Result<void> lock(const Mapping& mapping) {
  // Locking touches all of it, which is too late for advise_huge_pages().
  mapping.advise(MADV_HUGEPAGE);
  if (::mlock(mapping.data(), mapping.size()) == 0) return {};
  return fail(ErrorKind::kHost, "{}; raise the limit ('ulimit -l')",
              Error::from_errno("lock the guest's memory").message());
}

bool is_ram(const MemoryRegion& region) { return region.kind == MemoryKind::kRam; }

}  // namespace

Result<GuestMemory::Region> GuestMemory::map(const MemoryRegion& wanted, const Options& options) {
  const bool huge_pages = options.huge_pages && is_ram(wanted);
  const Mapping::Place place{
      .alignment_bytes = std::max(kHugePageBytes, huge_pages ? default_huge_page_bytes() : 0),
      .residue = to_number(wanted.start)};
  Region region{.facts = wanted, .memfd = {}, .mapping = {}};
  region.facts.file = -1;
  switch (wanted.backing) {
    case MemoryBacking::kAnonymous:
      region.mapping = TRY(map_anonymous(wanted, huge_pages, place));
      break;
    case MemoryBacking::kMemfd:
      region.memfd = TRY(make_memfd(wanted.size_bytes, huge_pages));
      region.mapping = TRY(map_file(wanted, region.memfd.get(), MAP_SHARED, place));
      break;
    case MemoryBacking::kPrivateFile:
      TRY(check_file(wanted));
      region.mapping = TRY(map_file(wanted, wanted.file, MAP_PRIVATE, place));
      break;
  }
  if (options.locked && is_ram(wanted)) TRY(lock(region.mapping));
  if (!options.dumpable && !region.mapping.advise(MADV_DONTDUMP))
    return std::unexpected(Error::from_errno("keep the guest's memory out of core dumps"));
  return region;
}

Result<GuestMemory> GuestMemory::create(std::span<const MemoryRegion> regions,
                                        const Options& options) {
  std::vector<Region> mapped;
  uint64_t end = 0;
  for (const MemoryRegion& wanted : regions) {
    const uint64_t start = to_number(wanted.start);
    CHECK(wanted.size_bytes != 0 && is_aligned<uint64_t>(wanted.size_bytes | start, 4096));
    CHECK(start >= end && checked_add(start, wanted.size_bytes));
    end = start + wanted.size_bytes;
    mapped.push_back(TRY(map(wanted, options)));
  }
  return GuestMemory(std::move(mapped));
}

std::optional<GuestSlice> GuestMemory::slice(GuestAddress address, uint64_t length) const {
  const uint64_t start = to_number(address);
  for (const Region& region : regions_) {
    const uint64_t base = to_number(region.facts.start);
    if (start < base || start - base >= region.facts.size_bytes) continue;
    if (!is_ram(region.facts) || !range_fits(start - base, length, region.facts.size_bytes))
      return std::nullopt;
    return GuestSlice(region.mapping.data() + (start - base), length);
  }
  return std::nullopt;
}

GuestSlice GuestMemory::region_slice(size_t index) const {
  const Region& region = regions_[index];
  return GuestSlice(region.mapping.data(), region.mapping.size());
}

void GuestMemory::advise_huge_pages() const {
  for (const Region& region : regions_)
    if (is_ram(region.facts)) region.mapping.advise(MADV_HUGEPAGE);
}

uint64_t GuestMemory::ram_bytes() const {
  uint64_t total = 0;
  for (const Region& region : regions_)
    if (is_ram(region.facts)) total += region.facts.size_bytes;
  return total;
}

}  // namespace hull
