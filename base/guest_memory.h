// The guest's memory as the rest of hull sees it.
//
// No pointer, reference or span into it leaves this file: the guest's vCPUs write to it while we
// look. slice() checks the whole range against one region of RAM; a GuestSlice can copy in, copy
// out, or become an iovec for bulk data that we never parse in place. A value is copied once, then
// checked, then used. No KVM calls here, so that devices are tested without a VM.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hull {

enum class GuestAddress : uint64_t {};

constexpr uint64_t to_number(GuestAddress address) { return static_cast<uint64_t>(address); }

// A checked range of guest memory. Offsets passed to it are ours, not the guest's: out of range is
// our bug and CHECKs. Valid as long as the GuestMemory it came from.
class GuestSlice {
 public:
  size_t size() const { return size_; }

  GuestSlice subslice(size_t offset, size_t length) const {
    check_range(offset, length);
    return GuestSlice(host_ + offset, length);
  }

  template <class T>
  T read(size_t offset = 0) const {
    static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>);
    check_range(offset, sizeof(T));
    T value;
    std::memcpy(&value, host_ + offset, sizeof(T));
    // Keeps the compiler from fetching the value a second time after it was checked.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return value;
  }

  template <class T>
  void write(size_t offset, const T& value) const {
    static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>);
    check_range(offset, sizeof(T));
    std::memcpy(host_ + offset, &value, sizeof(T));
  }

  void copy_to(std::span<uint8_t> destination) const {
    check_range(0, destination.size());
    if (!destination.empty()) std::memcpy(destination.data(), host_, destination.size());
  }
  void copy_from(std::span<const uint8_t> source) const {
    check_range(0, source.size());
    if (!source.empty()) std::memcpy(host_, source.data(), source.size());
  }
  void fill(uint8_t byte) const {
    if (size_ != 0) std::memset(host_, byte, size_);
  }

  // Ring indices, shared with running vCPUs; `offset` must leave them aligned.
  uint16_t load_acquire_u16(size_t offset) const {
    return __atomic_load_n(aligned_u16(offset), __ATOMIC_ACQUIRE);
  }
  void store_release_u16(size_t offset, uint16_t value) const {
    __atomic_store_n(aligned_u16(offset), value, __ATOMIC_RELEASE);
  }

  // For readv, writev, io_uring and memory slots: the kernel copies, nobody parses.
  iovec as_iovec() const { return {host_, size_}; }

 private:
  friend class GuestMemory;
  GuestSlice(uint8_t* host, size_t size) : host_(host), size_(size) {}

  void check_range(size_t offset, size_t length) const {
    CHECK(offset <= size_ && length <= size_ - offset);
  }
  uint16_t* aligned_u16(size_t offset) const {
    check_range(offset, sizeof(uint16_t));
    CHECK(reinterpret_cast<uintptr_t>(host_ + offset) % alignof(uint16_t) == 0);
    return reinterpret_cast<uint16_t*>(host_ + offset);  // SAFETY: range and alignment checked
  }

  uint8_t* host_;
  size_t size_;
};

struct GuestRange {
  GuestAddress start;
  uint64_t size_bytes;
};

// What a region of the guest's address space is.
enum class MemoryKind : uint8_t {
  kRam,     // the guest's main memory
  kRom,     // firmware: the guest reads and executes it, its writes go nowhere
  kFlash,   // the same, but the guest's writes are a device's business
  kDevice,  // memory of a device (a frame buffer, a shared window): no RAM to allocate from
};

// Where its bytes come from.
enum class MemoryBacking : uint8_t {
  kAnonymous,    // zeros of this process's own
  kMemfd,        // zeros in a file without a name, which other processes can be given
  kPrivateFile,  // a file's contents, copied where they are written; the file stays as it is
};

struct MemoryRegion {
  GuestAddress start;
  uint64_t size_bytes;  // not zero, a multiple of 4096
  MemoryKind kind = MemoryKind::kRam;
  MemoryBacking backing = MemoryBacking::kAnonymous;
  // kPrivateFile: borrowed for the call of create(). Whoever shortens the file later ends the
  // process by SIGBUS.
  int file = -1;
  uint64_t file_offset = 0;  // a multiple of 4096
};

// The regions are fixed before the first vCPU runs and never change: safe to read from any thread.
class GuestMemory {
 public:
  struct Options {
    bool huge_pages = false;  // RAM from the host's pool, or an error
    bool locked = false;      // RAM is never swapped out, or an error
    bool dumpable = true;     // part of a core dump of this process
  };

  // Demand-zero and not counted against overcommit unless `options` say otherwise. Regions ascend
  // and do not overlap. Each lies in our address space where host and guest address are congruent
  // modulo the size of a huge page (2 MiB, or that of the pool), so that KVM can map such pages.
  static Result<GuestMemory> create(std::span<const MemoryRegion> regions, const Options& options);
  static Result<GuestMemory> create(std::span<const MemoryRegion> regions) {
    return create(regions, {});
  }

  // What devices and loaders may read and write: nullopt unless [address, address + length) lies
  // wholly inside one region of RAM; length 0 is valid anywhere inside one.
  std::optional<GuestSlice> slice(GuestAddress address, uint64_t length) const;

  // Asks for 2 MiB pages where the host gives them: fewer faults while the guest works, and fewer
  // segments in a direct transfer. To be called before the first write: what has been touched
  // stays in small pages, with all that the guest puts beside it.
  void advise_huge_pages() const;

  size_t region_count() const { return regions_.size(); }
  const MemoryRegion& region(size_t index) const { return regions_[index].facts; }
  // The whole of a region, whatever its kind: for memory slots, and for the device that owns it.
  GuestSlice region_slice(size_t index) const;
  // kMemfd: the file, borrowed; -1 for others.
  int region_fd(size_t index) const { return regions_[index].memfd.get(); }
  uint64_t ram_bytes() const;

 private:
  struct Region {
    MemoryRegion facts;  // without `file`
    UniqueFd memfd;
    Mapping mapping;
  };
  static Result<Region> map(const MemoryRegion& wanted, const Options& options);

  explicit GuestMemory(std::vector<Region> regions) : regions_(std::move(regions)) {}
  std::vector<Region> regions_;
};

}  // namespace hull
