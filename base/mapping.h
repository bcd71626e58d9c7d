// A range of our address space obtained from mmap(2), unmapped when it dies.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/result.h"

namespace hull {

class Mapping {
 public:
  // Where a mapping shall lie: at an address that is `residue` modulo `alignment_bytes` (a power of
  // two, at least a page). Two mappings of the same bytes that are congruent modulo a huge page can
  // both be made of huge pages, as a guest's and the host's page tables.
  struct Place {
    size_t alignment_bytes = 4096;
    uint64_t residue = 0;
  };

  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        mapped_size_(std::exchange(other.mapped_size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  // Zeroed private memory; MAP_NORESERVE, so that a guest larger than the free memory can start.
  static Result<Mapping> anonymous(size_t size_bytes, Place place);
  static Result<Mapping> anonymous(size_t size_bytes) { return anonymous(size_bytes, {}); }
  // The same of the host's default huge pages (hugetlbfs); reserved at once, so kHost if the pool
  // is too small. The last page is taken whole; `place` is aligned to their size at least.
  static Result<Mapping> huge_pages(size_t size_bytes, Place place);
  static Result<Mapping> huge_pages(size_t size_bytes) { return huge_pages(size_bytes, {}); }
  // `protection` is PROT_*, `flags` MAP_SHARED or MAP_PRIVATE; the file is borrowed for the call.
  // The last page is taken whole, also of a file of huge pages. Touching what lies behind the end
  // of the file is SIGBUS: compare the sizes first.
  static Result<Mapping> of_file(int fd, uint64_t offset, size_t size_bytes, int protection,
                                 int flags, Place place);
  static Result<Mapping> of_file(int fd, uint64_t offset, size_t size_bytes, int protection,
                                 int flags) {
    return of_file(fd, offset, size_bytes, protection, flags, {});
  }

  // madvise(2) for all of it; false: refused, see errno.
  bool advise(int advice) const { return ::madvise(address_, mapped_size_, advice) == 0; }

  uint8_t* data() const { return static_cast<uint8_t*>(address_); }
  size_t size() const { return size_; }
  std::span<uint8_t> bytes() const { return {data(), size_}; }

 private:
  Mapping(void* address, size_t size, size_t mapped_size)
      : address_(address), size_(size), mapped_size_(mapped_size) {}
  struct Source;
  static Result<Mapping> map(const Source& source, size_t size_bytes, Place place);

  void* address_ = nullptr;
  size_t size_ = 0;
  size_t mapped_size_ = 0;  // whole pages of the kind that it is made of
};

// The size of the host's default huge pages; 0 if it has none.
size_t default_huge_page_bytes();

}  // namespace hull
