// An export of an NBD server as a Disk: byte n of the disk is byte n of the export. A connection
// that is lost is made again (session.h). Where the server takes only whole blocks, others are made
// of them here.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "blockcore/async/range_lock.h"
#include "blockcore/disk.h"
#include "blockcore/nbd/session.h"

namespace hull::blockcore::nbd {

struct NbdDiskOptions {
  bool read_only = false;
  bool ignore_flushes = false;                                    // cache mode unsafe
  std::chrono::milliseconds patience = std::chrono::seconds(10);  // for the handshake
  // Of a server that does not answer at all: 30 to 60 seconds.
  std::chrono::milliseconds silence = std::chrono::seconds(30);
  // How long a server that has gone away is looked for; 0: not at all. Requests wait meanwhile;
  // none for more than 2 * (2 * silence + reconnect).
  std::chrono::milliseconds reconnect = std::chrono::seconds(30);
};

class NbdDisk final : public Disk {
 public:
  // Blocks until the handshake is over. kInvalidConfig: the URL, or an export that is read-only and
  // is to be written. Errors name the URL.
  static Result<std::unique_ptr<NbdDisk>> open(IoEngine& engine, const std::string& url,
                                               const NbdDiskOptions& options);

  uint64_t size_bytes() const override { return session_->facts().size_bytes; }
  bool read_only() const override { return options_.read_only; }
  uint32_t alignment_bytes() const override { return session_->facts().min_bytes; }
  bool can_discard() const override { return !read_only() && session_->has(kSendTrim); }
  uint32_t discard_granularity_bytes() const override {
    return std::max<uint32_t>(4096, session_->facts().min_bytes);
  }

  Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
  Task<Result<void>> discard(uint64_t offset, uint64_t length) override;
  Task<Result<BlockStatus>> block_status(uint64_t offset, uint64_t length) override;
  void abandon() override { session_->abandon(); }
  Task<Result<void>> close() override;

 private:
  NbdDisk(std::shared_ptr<Session> session, const NbdDiskOptions& options)
      : session_(std::move(session)), options_(options) {}
  bool is_whole(uint64_t offset, uint64_t length) const;
  RangeLock::Range blocks_of(uint64_t offset, uint64_t length) const;
  Task<Result<void>> read_around(uint64_t offset, std::span<const iovec> buffers);
  Task<Result<void>> write_whole(uint64_t offset, std::span<const iovec> buffers);
  Task<Result<void>> write_around(uint64_t offset, std::span<const iovec> buffers);
  Task<Result<void>> write_part(uint64_t offset, std::span<const iovec> buffers, uint64_t done,
                                uint64_t count, std::span<std::byte> blocks);
  Task<Result<void>> command_on(Command command, uint16_t flags, uint64_t offset, uint64_t length);
  Task<Result<void>> write_zero_bytes(uint64_t offset, uint64_t length);
  void forget_status();
  std::optional<BlockStatus> known_status(uint64_t offset, uint64_t length) const;
  BlockStatus placed(BlockStatus status, uint64_t offset) const;

  const std::shared_ptr<Session> session_;
  const NbdDiskOptions options_;
  RangeLock changing_;  // bytes of whole blocks, where the server takes no others

  // The last answer about block status, until something is changed.
  uint64_t status_offset_ = 0;
  std::vector<ExtentDescriptor> extents_;
  uint64_t changes_ = 0;
};

}  // namespace hull::blockcore::nbd
