#include "base/mapping.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/check.h"
#include "base/checked.h"
#include "base/unique_fd.h"

namespace hull {

namespace {

constexpr size_t kPageBytes = 4096;

// ENOMEM: neighbours had grown together, and the host allows no further mapping; the rest leaks.
void unmap(uint8_t* address, size_t size) {
  if (size != 0) CHECK(::munmap(address, size) == 0 || errno == ENOMEM);
}

// The first address from `begin` on that the place allows.
uint8_t* find_place(uint8_t* begin, Mapping::Place place) {
  const uint64_t wanted = place.residue & (place.alignment_bytes - 1);
  const uint64_t is = reinterpret_cast<uintptr_t>(begin) & (place.alignment_bytes - 1);
  return begin + ((wanted - is) & (place.alignment_bytes - 1));
}

size_t page_bytes_of(int fd) {
  struct statfs facts{};
  const bool is_huge = ::fstatfs(fd, &facts) == 0 && facts.f_type == HUGETLBFS_MAGIC;
  return is_huge ? static_cast<size_t>(facts.f_bsize) : kPageBytes;
}

}  // namespace

struct Mapping::Source {
  int protection;
  int flags;
  int fd = -1;
  uint64_t offset = 0;
  size_t page_bytes = kPageBytes;
};

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  std::swap(mapped_size_, other.mapped_size_);
  return *this;
}

Mapping::~Mapping() {
  if (address_ != nullptr) unmap(data(), mapped_size_);
}

Result<Mapping> Mapping::map(const Source& source, size_t size_bytes, Place place) {
  CHECK(std::has_single_bit(place.alignment_bytes) && place.alignment_bytes >= kPageBytes);
  const auto rounded = checked_add(size_bytes, source.page_bytes - 1);
  const size_t mapped_bytes = rounded ? align_down(*rounded, source.page_bytes) : 0;
  const auto reserved_bytes = checked_add(mapped_bytes, place.alignment_bytes);
  if (mapped_bytes == 0 || !reserved_bytes) {
    const int error = size_bytes == 0 ? EINVAL : ENOMEM;
    return std::unexpected(Error::from_errno("mmap", error));
  }
  const auto map_at = [&](void* address, int more_flags) {
    return ::mmap(address, mapped_bytes, source.protection, source.flags | more_flags, source.fd,
                  static_cast<off_t>(source.offset));
  };
  if (place.alignment_bytes == kPageBytes) {
    void* const anywhere = map_at(nullptr, 0);
    if (anywhere == MAP_FAILED) return std::unexpected(Error::from_errno("mmap"));
    return Mapping(anywhere, size_bytes, mapped_bytes);
  }
  // Older kernels put large mappings anywhere: more address space than needed is reserved, the
  // mapping put where it shall be, the rest given back.
  void* const reserved = ::mmap(nullptr, *reserved_bytes, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return std::unexpected(Error::from_errno("mmap"));
  auto* const begin = static_cast<uint8_t*>(reserved);
  uint8_t* const address = find_place(begin, place);
  if (map_at(address, MAP_FIXED) == MAP_FAILED) {
    Error error = Error::from_errno("mmap");
    unmap(begin, *reserved_bytes);
    return std::unexpected(std::move(error));
  }
  uint8_t* const end = address + mapped_bytes;
  unmap(begin, static_cast<size_t>(address - begin));
  unmap(end, static_cast<size_t>(begin + *reserved_bytes - end));
  return Mapping(address, size_bytes, mapped_bytes);
}

Result<Mapping> Mapping::anonymous(size_t size_bytes, Place place) {
  const Source source{.protection = PROT_READ | PROT_WRITE,
                      .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE};
  return map(source, size_bytes, place)
      .with_context(fmt::format("map {} bytes of memory", size_bytes));
}

Result<Mapping> Mapping::huge_pages(size_t size_bytes, Place place) {
  const size_t page_bytes = default_huge_page_bytes();
  if (page_bytes == 0) return fail(ErrorKind::kHost, "this host's kernel has no huge pages");
  place.alignment_bytes = std::max(place.alignment_bytes, page_bytes);
  const Source source{.protection = PROT_READ | PROT_WRITE,
                      .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
                      .page_bytes = page_bytes};
  auto mapping = map(source, size_bytes, place);
  if (mapping) return mapping;
  return fail(ErrorKind::kHost,
              "map {} bytes of huge pages: {}; reserve more by sysctl "
              "vm.nr_hugepages",
              size_bytes, mapping.error().message());
}

Result<Mapping> Mapping::of_file(int fd, uint64_t offset, size_t size_bytes, int protection,
                                 int flags, Place place) {
  const Source source{.protection = protection,
                      .flags = flags,
                      .fd = fd,
                      .offset = offset,
                      .page_bytes = page_bytes_of(fd)};
  return map(source, size_bytes, place)
      .with_context(fmt::format("map {} bytes of a file", size_bytes));
}

// Asks a file of such pages, which needs neither /proc nor /sys.
size_t default_huge_page_bytes() {
  const UniqueFd file(::memfd_create("hull-huge-page", MFD_CLOEXEC | MFD_HUGETLB));
  struct statfs facts{};
  if (!file.valid() || ::fstatfs(file.get(), &facts) < 0) return 0;
  return static_cast<size_t>(facts.f_bsize);
}

}  // namespace hull
