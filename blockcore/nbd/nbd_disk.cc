#include "blockcore/nbd/nbd_disk.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "blockcore/engine/iovecs.h"

namespace hull::blockcore::nbd {

namespace {

constexpr uint32_t kMaxCommandBytes = 1U << 30;  // of what carries no data
constexpr uint32_t kZeroBytes = 256 << 10;
constexpr uint64_t kBounceBytes = 256 << 10;  // of requests that the server does not take

BlockStatus to_status(const ExtentDescriptor& extent, uint64_t length) {
  const bool hole = (extent.flags & kStateHole) != 0;
  const bool zero = (extent.flags & kStateZero) != 0;
  // A hole that need not read as zeros has to be read all the same.
  return {.length = length, .data = !hole || !zero, .zero = zero, .present = true};
}

}  // namespace

Result<std::unique_ptr<NbdDisk>> NbdDisk::open(IoEngine& engine, const std::string& url,
                                               const NbdDiskOptions& options) {
  auto session =
      TRY(Session::open(engine, url,
                        {.handshake = options.patience,
                         .silence = options.silence,
                         .reconnect = options.reconnect,
                         .writes = !options.read_only,
                         .keeps_changes = !options.read_only && !options.ignore_flushes}));
  if (!options.read_only && session->has(kReadOnly))
    return fail(ErrorKind::kInvalidConfig, "{}: the export is read-only", url);
  return std::unique_ptr<NbdDisk>(new NbdDisk(std::move(session), options));
}

Task<Result<void>> NbdDisk::read(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  CHECK(range_fits(offset, total, size_bytes()));
  if (!is_whole(offset, total)) co_return co_await read_around(offset, buffers);
  for (uint64_t done = 0; done < total;) {
    const uint64_t step = std::min<uint64_t>(total - done, session_->facts().max_bytes);
    const IovecPart part(buffers, done, step);
    CO_TRY_VOID(co_await session_->read(offset + done, part.buffers()));
    done += step;
  }
  co_return {};
}

Task<Result<void>> NbdDisk::write(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  CHECK(range_fits(offset, total, size_bytes()) && !read_only());
  if (total == 0) co_return {};
  forget_status();
  std::optional<RangeLock::Hold> hold;
  if (session_->facts().min_bytes > 1) {
    hold.emplace(changing_, blocks_of(offset, total));
    while (WaitList* before = hold->before()) co_await before->wait();
  }
  auto writing =
      is_whole(offset, total) ? write_whole(offset, buffers) : write_around(offset, buffers);
  CO_TRY_VOID(co_await std::move(writing));
  forget_status();
  co_return {};
}

Task<Result<void>> NbdDisk::write_whole(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  for (uint64_t done = 0; done < total;) {
    const uint64_t step = std::min<uint64_t>(total - done, session_->facts().max_bytes);
    const IovecPart part(buffers, done, step);
    CO_TRY_VOID(co_await session_->write(offset + done, part.buffers()));
    done += step;
  }
  co_return {};
}

// ---- Requests of which the server would not take a block's part.

bool NbdDisk::is_whole(uint64_t offset, uint64_t length) const {
  return ((offset | length) & (session_->facts().min_bytes - 1)) == 0;
}

RangeLock::Range NbdDisk::blocks_of(uint64_t offset, uint64_t length) const {
  const uint64_t block = session_->facts().min_bytes;
  return {align_down(offset, block), align_up(offset + length, block) - 1};
}

Task<Result<void>> NbdDisk::read_around(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  const uint64_t block = session_->facts().min_bytes;
  std::vector<std::byte> bounce(std::min<uint64_t>(kBounceBytes, session_->facts().max_bytes));
  for (uint64_t done = 0; done < total;) {
    const uint64_t skip = (offset + done) % block;
    const uint64_t count = std::min(total - done, bounce.size() - skip);
    const iovec whole{bounce.data(), align_up(skip + count, block)};
    CO_TRY_VOID(co_await session_->read(offset + done - skip, {&whole, 1}));
    copy_to_iovecs(buffers, done, std::span(bounce).subspan(skip, count));
    done += count;
  }
  co_return {};
}

// The caller holds all the blocks.
Task<Result<void>> NbdDisk::write_around(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  const uint64_t block = session_->facts().min_bytes;
  std::vector<std::byte> bounce(std::min<uint64_t>(kBounceBytes, session_->facts().max_bytes));
  for (uint64_t done = 0; done < total;) {
    const uint64_t skip = (offset + done) % block;
    const uint64_t count = std::min(total - done, bounce.size() - skip);
    const auto blocks = std::span(bounce).first(align_up(skip + count, block));
    CO_TRY_VOID(co_await write_part(offset + done, buffers, done, count, blocks));
    done += count;
  }
  co_return {};
}

// What of the first and the last block is not written stays what it is.
Task<Result<void>> NbdDisk::write_part(uint64_t offset, std::span<const iovec> buffers,
                                       uint64_t done, uint64_t count, std::span<std::byte> blocks) {
  const uint64_t block = session_->facts().min_bytes;
  const uint64_t skip = offset % block;
  const uint64_t start = offset - skip;
  const iovec first{blocks.data(), block};
  const iovec last{blocks.data() + blocks.size() - block, block};
  const bool one_block = blocks.size() == block;
  const bool cut_end = skip + count != blocks.size();
  if (skip != 0 || (cut_end && one_block)) CO_TRY_VOID(co_await session_->read(start, {&first, 1}));
  if (cut_end && !one_block)
    CO_TRY_VOID(co_await session_->read(start + blocks.size() - block, {&last, 1}));
  copy_from_iovecs(buffers, done, blocks.subspan(skip, count));
  const iovec whole{blocks.data(), blocks.size()};
  co_return co_await session_->write(start, {&whole, 1});
}

// A server without NBD_CMD_FLUSH claims that what it has answered is durable.
Task<Result<void>> NbdDisk::flush() {
  if (options_.ignore_flushes || read_only() || !session_->has(kSendFlush)) co_return {};
  co_return co_await session_->command(Command::kFlush, 0, 0, 0);
}

Task<Result<void>> NbdDisk::command_on(Command command, uint16_t flags, uint64_t offset,
                                       uint64_t length) {
  if (length == 0) co_return {};
  forget_status();
  std::optional<RangeLock::Hold> hold;
  if (session_->facts().min_bytes > 1) {
    hold.emplace(changing_, blocks_of(offset, length));
    while (WaitList* before = hold->before()) co_await before->wait();
  }
  for (uint64_t done = 0; done < length;) {
    const auto step = static_cast<uint32_t>(std::min<uint64_t>(length - done, kMaxCommandBytes));
    CO_TRY_VOID(co_await session_->command(command, flags, offset + done, step));
    done += step;
  }
  forget_status();
  co_return {};
}

Task<Result<void>> NbdDisk::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
  CHECK(range_fits(offset, length, size_bytes()) && !read_only());
  if (!session_->has(kSendWriteZeroes)) co_return co_await write_zero_bytes(offset, length);
  // The server zeroes whole blocks; the rest is written.
  const uint64_t block = session_->facts().min_bytes;
  const uint64_t first = std::min(align_up(offset, block), offset + length);
  const uint64_t last = std::max(align_down(offset + length, block), first);
  CO_TRY_VOID(co_await write_zero_bytes(offset, first - offset));
  CO_TRY_VOID(co_await command_on(Command::kWriteZeroes, may_unmap ? uint16_t{0} : kCommandNoHole,
                                  first, last - first));
  co_return co_await write_zero_bytes(last, offset + length - last);
}

Task<Result<void>> NbdDisk::write_zero_bytes(uint64_t offset, uint64_t length) {
  static constexpr std::array<std::byte, kZeroBytes> kZeros{};
  for (uint64_t done = 0; done < length;) {
    const uint64_t step = std::min<uint64_t>(length - done, kZeroBytes);
    const iovec zeros{const_cast<std::byte*>(kZeros.data()), step};
    CO_TRY_VOID(co_await write(offset + done, {&zeros, 1}));
    done += step;
  }
  co_return {};
}

Task<Result<void>> NbdDisk::discard(uint64_t offset, uint64_t length) {
  CHECK(range_fits(offset, length, size_bytes()));
  if (!can_discard()) co_return {};
  const uint64_t block = session_->facts().min_bytes;
  const uint64_t first = align_up(offset, block);
  const uint64_t last = align_down(offset + length, block);
  if (first >= last) co_return {};
  co_return co_await command_on(Command::kTrim, 0, first, last - first);
}

void NbdDisk::forget_status() {
  ++changes_;
  extents_.clear();
}

std::optional<BlockStatus> NbdDisk::known_status(uint64_t offset, uint64_t length) const {
  if (offset < status_offset_) return std::nullopt;
  uint64_t begin = status_offset_;
  for (const ExtentDescriptor& extent : extents_) {
    if (offset < begin + extent.length)
      return to_status(extent, std::min(length, begin + extent.length - offset));
    begin += extent.length;
  }
  return std::nullopt;
}

// Where it is in the export; no File stands for that.
BlockStatus NbdDisk::placed(BlockStatus status, uint64_t offset) const {
  status.host_offset = offset;
  status.path = session_->name();
  return status;
}

Task<Result<BlockStatus>> NbdDisk::block_status(uint64_t offset, uint64_t length) {
  CHECK(length > 0 && range_fits(offset, length, size_bytes()));
  if (!session_->facts().allocation_context)
    co_return placed({.length = length, .data = true, .present = true}, offset);
  if (const auto known = known_status(offset, length)) co_return placed(*known, offset);
  const uint64_t before = changes_;
  const uint64_t start = align_down<uint64_t>(offset, session_->facts().min_bytes);
  const auto asked =
      static_cast<uint32_t>(std::min<uint64_t>(size_bytes() - start, kMaxCommandBytes));
  CO_TRY(std::vector<ExtentDescriptor> extents, co_await session_->block_status(start, asked));
  // Of a server that describes less than a block: nothing is known.
  const uint64_t skip = offset - start;
  const uint64_t rest = session_->facts().min_bytes - skip;
  BlockStatus status{.length = std::min(length, rest), .data = true, .present = true};
  if (extents.front().length > skip)
    status = to_status(extents.front(), std::min<uint64_t>(extents.front().length - skip, length));
  if (before == changes_) {
    status_offset_ = start;
    extents_ = std::move(extents);
  }
  co_return placed(status, offset);
}

Task<Result<void>> NbdDisk::close() {
  const auto flushed = co_await flush();
  co_await session_->settle();
  co_return flushed;
}

}  // namespace hull::blockcore::nbd
