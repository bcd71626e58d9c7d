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
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  // Zeroed private memory; MAP_NORESERVE, so that a guest larger than the free memory can start.
  static Result<Mapping> anonymous(size_t size_bytes);
  // The same of the host's default huge pages (hugetlbfs); reserved at once, so kHost if the pool
  // is too small. `size_bytes` is a multiple of their size.
  static Result<Mapping> huge_pages(size_t size_bytes);
  // `protection` is PROT_*, `flags` MAP_SHARED or MAP_PRIVATE; the file is borrowed for the call.
  static Result<Mapping> of_file(int fd, uint64_t offset, size_t size_bytes, int protection,
                                 int flags);

  uint8_t* data() const { return static_cast<uint8_t*>(address_); }
  size_t size() const { return size_; }
  std::span<uint8_t> bytes() const { return {data(), size_}; }

 private:
  Mapping(void* address, size_t size) : address_(address), size_(size) {}
  void* address_ = nullptr;
  size_t size_ = 0;
};

}  // namespace hull
