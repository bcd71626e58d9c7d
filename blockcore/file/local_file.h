// File over a descriptor of the host: a regular file or a block device, nothing else.
//
// Nothing that it says of the file is older than its lock: it is opened, locked as the options say,
// and only then looked at.
//
// With O_DIRECT (kNone, kDirectsync) a misaligned request goes through a bounce buffer; a
// misaligned write also reads the blocks at its ends. All that changes a block then has it for
// itself, so that neighbours in one block do not lose each other's bytes or zeros. O_DIRECT that
// the file system refuses is an error, never a silent change to the page cache.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <memory>
#include <optional>

#include "base/unique_fd.h"
#include "blockcore/async/range_lock.h"
#include "blockcore/engine/bounce_pool.h"
#include "blockcore/engine/io_engine.h"
#include "blockcore/file/file.h"
#include "blockcore/file/image_lock.h"

namespace hull::blockcore {

// One file under any of its names.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

struct LocalFileOptions {
  CacheMode cache = CacheMode::kWriteback;
  bool read_only = false;
  bool create = false;  // a new regular file, mode 0644 less the umask; it must not exist
  // Held until the file is closed. Absent: none, for files that nobody else knows.
  std::optional<LockRequest> lock = std::nullopt;
  // Asked which file it is before its lock is waited for, so that whoever would wait for himself
  // can say so. Absent: any.
  std::function<Result<void>(const FileIdentity&)> admit = {};
};

class LocalFile final : public File {
 public:
  // kInvalidConfig: neither a regular file nor a block device, or O_DIRECT is refused. kBusy: the
  // lock was waited for in vain (image_lock.h). Where the file system has no locks, writing without
  // them gives a warning.
  static Result<std::unique_ptr<LocalFile>> open(IoEngine& engine, const std::string& path,
                                                 const LocalFileOptions& options);
  // The same over a descriptor that was opened accordingly; `path` is for messages.
  static Result<std::unique_ptr<LocalFile>> adopt(IoEngine& engine, UniqueFd fd,
                                                  const std::string& path,
                                                  const LocalFileOptions& options);
  ~LocalFile() override;

  int fd() const { return fd_.get(); }  // a borrow
  FileIdentity identity() const { return identity_; }

  IoEngine* engine() const override { return &engine_; }
  const std::string& path() const override { return path_; }
  bool read_only() const override { return read_only_; }
  uint64_t size_bytes() const override { return size_bytes_; }
  bool is_block_device() const override { return block_device_; }
  uint32_t alignment_bytes() const override { return alignment_bytes_; }

  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
  Task<Result<void>> discard(uint64_t offset, uint64_t length) override;
  Task<Result<void>> allocate(uint64_t offset, uint64_t length) override;
  Task<Result<uint64_t>> copy_from(const File& source, uint64_t source_offset, uint64_t offset,
                                   uint64_t length) override;
  Result<void> extend_to(uint64_t size_bytes) override;
  Result<void> cut_to(uint64_t size_bytes) override;
  Result<FileRange> range_at(uint64_t offset) const override;
  void abandon() override { engine_.cancel(fd_.get()); }
  int copy_source_fd() const override { return is_direct() ? -1 : fd_.get(); }

 protected:
  Task<Result<void>> transfer_in(uint64_t offset, std::span<const iovec> buffers,
                                 AtEnd at_end) override;

 private:
  // While a write past the end is in flight, nobody may cut the file.
  class CountWhileAlive {
   public:
    CountWhileAlive(unsigned& counter, bool counts) : counter_(counts ? &counter : nullptr) {
      if (counts) ++counter;
    }
    ~CountWhileAlive() {
      if (counter_ != nullptr) --*counter_;
    }
    CountWhileAlive(const CountWhileAlive&) = delete;
    CountWhileAlive& operator=(const CountWhileAlive&) = delete;

   private:
    unsigned* counter_;
  };

  LocalFile(IoEngine& engine, UniqueFd fd, std::string path, const LocalFileOptions& options);
  Result<void> learn_identity();
  Result<void> take_lock(const LockRequest& request);
  Result<void> learn_facts();
  Result<void> learn_alignment();

  bool is_direct() const { return alignment_bytes_ > 1; }
  bool needs_bounce(uint64_t offset, uint64_t length, std::span<const iovec> buffers) const;
  Result<void> check_writable(uint64_t offset, uint64_t length) const;
  Result<void> set_size(uint64_t size_bytes);
  std::unexpected<Error> failure(std::string_view what, uint64_t offset, int64_t result) const;
  Result<uint64_t> length_now() const;
  void grow_to(uint64_t end_bytes);
  RangeLock::Range blocks_of(uint64_t offset, uint64_t length) const;

  Task<Result<void>> read_rest(uint64_t offset, std::span<const iovec> buffers, uint64_t done,
                               AtEnd at_end);
  Task<Result<void>> write_rest(uint64_t offset, std::span<const iovec> buffers, uint64_t done);
  std::unexpected<Error> write_failure(uint64_t offset, int64_t result);
  Task<Result<void>> read_bounced(uint64_t offset, std::span<const iovec> buffers, AtEnd at_end);
  Task<Result<void>> write_bounced(uint64_t offset, std::span<const iovec> buffers);
  Task<Result<void>> fill_ends(uint64_t position, uint64_t count, std::span<std::byte> blocks);
  Task<Result<void>> write_blocks(uint64_t start, uint64_t data_end, std::span<std::byte> blocks);

  // 0, or -errno; remembers in `*supported` that the host cannot do it.
  Task<int64_t> try_fallocate(int mode, uint64_t offset, uint64_t length, bool* supported);
  Task<Result<void>> zero_inside(uint64_t offset, uint64_t length, bool may_unmap);
  Task<Result<void>> write_zero_bytes(uint64_t offset, uint64_t length);

  IoEngine& engine_;
  const UniqueFd fd_;
  const std::string path_;
  const CacheMode cache_;
  const bool read_only_;
  bool block_device_ = false;
  uint32_t alignment_bytes_ = 1;
  uint32_t zeroing_alignment_bytes_ = 1;  // of fallocate on a block device
  FileIdentity identity_;
  uint64_t size_bytes_ = 0;

  bool can_punch_ = true;
  bool can_zero_range_ = true;
  int flush_error_ = 0;                 // errno of the first failed flush
  unsigned writes_beyond_ = 0;          // in flight, past size_bytes_ when they began
  RangeLock changing_;                  // bytes of whole blocks, with O_DIRECT
  std::unique_ptr<BouncePool> bounce_;  // with O_DIRECT
};

}  // namespace hull::blockcore
