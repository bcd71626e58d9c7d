#include "base/mapping.h"

namespace hull {

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  return *this;
}

Mapping::~Mapping() {
  if (address_ != nullptr) ::munmap(address_, size_);
}

Result<Mapping> Mapping::anonymous(size_t size_bytes) {
  void* address = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED)
    return std::unexpected(Error::from_errno(fmt::format("map {} bytes of memory", size_bytes)));
  return Mapping(address, size_bytes);
}

Result<Mapping> Mapping::huge_pages(size_t size_bytes) {
  void* address = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  if (address == MAP_FAILED) {
    const Error error = Error::from_errno(fmt::format("map {} bytes of huge pages", size_bytes));
    return fail(ErrorKind::kHost, "{}; reserve more by sysctl vm.nr_hugepages", error.message());
  }
  return Mapping(address, size_bytes);
}

Result<Mapping> Mapping::of_file(int fd, uint64_t offset, size_t size_bytes, int protection,
                                 int flags) {
  void* address = ::mmap(nullptr, size_bytes, protection, flags, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED)
    return std::unexpected(Error::from_errno(fmt::format("map {} bytes of a file", size_bytes)));
  return Mapping(address, size_bytes);
}

}  // namespace hull
