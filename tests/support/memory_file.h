// A File whose bytes are in a vector: every operation completes at once, no engine is needed
// (run_now.h). `limit` is the size at which the "disk" is full (kNoSpace).
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/checked.h"
#include "blockcore/file/file.h"

namespace hull::testing {

class MemoryFile : public blockcore::File {
 public:
  explicit MemoryFile(std::vector<uint8_t> bytes = {}, std::string path = "memory",
                      size_t limit = 256U << 20)
      : bytes_(std::move(bytes)), path_(std::move(path)), limit_(limit) {}

  std::vector<uint8_t>& bytes() { return bytes_; }
  void set_read_only(bool read_only) { read_only_ = read_only; }

  const std::string& path() const override { return path_; }
  bool read_only() const override { return read_only_; }
  uint64_t size_bytes() const override { return bytes_.size(); }
  bool is_block_device() const override { return false; }
  uint32_t alignment_bytes() const override { return 1; }

  blockcore::Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override {
    CO_TRY_VOID(make_room(offset, blockcore::total_bytes(buffers)));
    for (const iovec& buffer : buffers) {
      if (buffer.iov_len != 0) std::memcpy(bytes_.data() + offset, buffer.iov_base, buffer.iov_len);
      offset += buffer.iov_len;
    }
    co_return {};
  }
  blockcore::Task<Result<void>> flush() override { co_return {}; }
  blockcore::Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool) override {
    CO_TRY_VOID(make_room(offset, length));
    std::fill_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), length, uint8_t{0});
    co_return {};
  }
  blockcore::Task<Result<void>> discard(uint64_t offset, uint64_t length) override {
    if (read_only_) co_return fail(ErrorKind::kIo, "{}: read-only", path_);
    const uint64_t first = std::min<uint64_t>(offset, bytes_.size());
    const uint64_t last = std::min<uint64_t>(offset + length, bytes_.size());
    std::fill_n(bytes_.begin() + static_cast<ptrdiff_t>(first), last - first, uint8_t{0});
    co_return {};
  }
  blockcore::Task<Result<void>> allocate(uint64_t offset, uint64_t length) override {
    co_return make_room(offset, length);
  }
  Result<void> extend_to(uint64_t size) override { return make_room(0, size); }
  Result<void> cut_to(uint64_t size) override {
    if (read_only_) return fail(ErrorKind::kIo, "{}: read-only", path_);
    if (size < bytes_.size()) bytes_.resize(size);
    return {};
  }

 protected:
  blockcore::Task<Result<void>> transfer_in(uint64_t offset, std::span<const iovec> buffers,
                                            AtEnd at_end) override {
    const uint64_t total = blockcore::total_bytes(buffers);
    CHECK(checked_add(offset, total).has_value());
    if (at_end == AtEnd::kFail && !range_fits<uint64_t>(offset, total, bytes_.size()))
      co_return fail(ErrorKind::kOutOfRange, "{}: read past the end at {:#x}", path_, offset);
    for (const iovec& buffer : buffers) {
      const uint64_t first = std::min<uint64_t>(offset, bytes_.size());
      const uint64_t count = std::min<uint64_t>(buffer.iov_len, bytes_.size() - first);
      auto* const memory = static_cast<uint8_t*>(buffer.iov_base);
      std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(first), count, memory);
      std::fill_n(memory + count, buffer.iov_len - count, uint8_t{0});
      offset += buffer.iov_len;
    }
    co_return {};
  }

 private:
  Result<void> make_room(uint64_t offset, uint64_t length) {
    if (read_only_) return fail(ErrorKind::kIo, "{}: read-only", path_);
    const auto end = checked_add(offset, length);
    CHECK(end.has_value());
    if (*end > limit_) return fail(ErrorKind::kNoSpace, "{}: no space left", path_);
    if (*end > bytes_.size()) bytes_.resize(*end);
    return {};
  }

  std::vector<uint8_t> bytes_;
  std::string path_;
  size_t limit_;
  bool read_only_ = false;
};

}  // namespace hull::testing
