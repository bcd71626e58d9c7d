#include "base/mapping.h"

#include <sys/vfs.h>

#include <cerrno>

#include "base/check.h"
#include "base/checked.h"
#include "base/unique_fd.h"

namespace hull {

namespace {

constexpr size_t kHugePageBytes = 2 << 20;

// ENOMEM: neighbours had grown together, and the host allows no further mapping; the rest leaks.
void unmap(uint8_t* address, size_t size) {
  if (size != 0) CHECK(::munmap(address, size) == 0 || errno == ENOMEM);
}

// As mmap(2), at a multiple of a huge page: a guest's memory starts at one, too, and KVM can map
// huge pages only where both addresses are congruent. Kernels before 6.7 put mappings anywhere.
// More address space than needed is reserved, the mapping put into it, the rest given back.
void* map_aligned(size_t size, int flags) {
  const auto reserved_size = checked_add(size, kHugePageBytes);
  if (size == 0 || !reserved_size) {
    errno = size == 0 ? EINVAL : ENOMEM;
    return MAP_FAILED;
  }
  void* const reserved = ::mmap(nullptr, *reserved_size, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return MAP_FAILED;
  auto* const begin = static_cast<uint8_t*>(reserved);
  const uint64_t start = reinterpret_cast<uintptr_t>(begin);
  uint8_t* const address = begin + (align_up<uint64_t>(start, kHugePageBytes) - start);
  if (::mmap(address, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0) == MAP_FAILED) {
    const int error = errno;
    unmap(begin, *reserved_size);
    errno = error;
    return MAP_FAILED;
  }
  uint8_t* const end = address + align_up<size_t>(size, 4096);
  unmap(begin, static_cast<size_t>(address - begin));
  unmap(end, static_cast<size_t>(begin + align_up<size_t>(*reserved_size, 4096) - end));
  return address;
}

// Asks a file of such pages, which needs neither /proc nor /sys. 0: this kernel has none.
size_t default_huge_page_bytes() {
  const UniqueFd file(::memfd_create("hull-huge-page", MFD_CLOEXEC | MFD_HUGETLB));
  struct statfs facts{};
  if (!file.valid() || ::fstatfs(file.get(), &facts) < 0) return 0;
  return static_cast<size_t>(facts.f_bsize);
}

}  // namespace

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  return *this;
}

Mapping::~Mapping() {
  if (address_ != nullptr) unmap(data(), size_);
}

Result<Mapping> Mapping::anonymous(size_t size_bytes) {
  void* address = map_aligned(size_bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  if (address == MAP_FAILED)
    return std::unexpected(Error::from_errno(fmt::format("map {} bytes of memory", size_bytes)));
  return Mapping(address, size_bytes);
}

// The last page is taken whole: munmap(2) refuses a part of one.
Result<Mapping> Mapping::huge_pages(size_t size_bytes) {
  const size_t page_bytes = default_huge_page_bytes();
  if (page_bytes == 0) return fail(ErrorKind::kHost, "this host's kernel has no huge pages");
  const size_t mapped_bytes = divide_up(size_bytes, page_bytes) * page_bytes;
  void* address = ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  if (address == MAP_FAILED) {
    const Error error = Error::from_errno(fmt::format("map {} bytes of huge pages", size_bytes));
    return fail(ErrorKind::kHost, "{}; reserve more by sysctl vm.nr_hugepages", error.message());
  }
  return Mapping(address, mapped_bytes);
}

Result<Mapping> Mapping::of_file(int fd, uint64_t offset, size_t size_bytes, int protection,
                                 int flags) {
  void* address = ::mmap(nullptr, size_bytes, protection, flags, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED)
    return std::unexpected(Error::from_errno(fmt::format("map {} bytes of a file", size_bytes)));
  return Mapping(address, size_bytes);
}

}  // namespace hull
