// A block device in memory: its size is fixed, and it is full of what somebody else has left.
#pragma once

#include "tests/support/memory_file.h"

namespace hull::testing {

class MemoryDevice : public MemoryFile {
 public:
  // `bytes` are what it holds.
  explicit MemoryDevice(std::vector<uint8_t> bytes, std::string path = "device")
      : MemoryFile(std::move(bytes), std::move(path)) {}

  bool is_block_device() const override { return true; }
  blockcore::Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override {
    CO_TRY_VOID(inside(offset + blockcore::total_bytes(buffers)));
    co_return co_await MemoryFile::write(offset, buffers);
  }
  blockcore::Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length,
                                             bool may_unmap) override {
    CO_TRY_VOID(inside(offset + length));
    co_return co_await MemoryFile::write_zeroes(offset, length, may_unmap);
  }
  // A hint, which this one does not take.
  blockcore::Task<Result<void>> discard(uint64_t, uint64_t) override { co_return {}; }
  blockcore::Task<Result<void>> allocate(uint64_t offset, uint64_t length) override {
    co_return inside(offset + length);
  }
  Result<void> extend_to(uint64_t size) override { return inside(size); }
  Result<void> cut_to(uint64_t size) override {
    if (size >= size_bytes()) return {};
    return fail(ErrorKind::kUnsupported, "{}: the size of a device is fixed", path());
  }

 private:
  Result<void> inside(uint64_t end) const {
    if (end <= size_bytes()) return {};
    return fail(ErrorKind::kOutOfRange, "{}: past the end of the device", path());
  }
};

}  // namespace hull::testing
