#include "blockcore/nbd/nbd_disk.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "blockcore/engine/iovecs.h"
#include "blockcore/nbd/url.h"

namespace hull::blockcore::nbd {

namespace {

constexpr uint32_t kMaxCommandBytes = 1U << 30;  // of what carries no data
constexpr uint32_t kZeroBytes = 256 << 10;

BlockStatus to_status(const ExtentDescriptor& extent, uint64_t length) {
  const bool hole = (extent.flags & kStateHole) != 0;
  const bool zero = (extent.flags & kStateZero) != 0;
  // A hole that need not read as zeros has to be read all the same.
  return {.length = length, .data = !hole || !zero, .zero = zero, .present = true};
}

}  // namespace

Result<std::unique_ptr<NbdDisk>> NbdDisk::open(IoEngine& engine, const std::string& url,
                                               const NbdDiskOptions& options) {
  const Url parsed = TRY(parse_url(url));
  ClientConnection connection = TRY(connect_to_export(parsed, options.patience).with_context(url));
  if (!options.read_only && (connection.facts.flags & kReadOnly) != 0)
    return fail(ErrorKind::kInvalidConfig, "{}: the export is read-only", url);
  auto client = Client::create(engine, std::move(connection), url);
  return std::unique_ptr<NbdDisk>(new NbdDisk(std::move(client), options));
}

Task<Result<void>> NbdDisk::read(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  CHECK(range_fits(offset, total, size_bytes()));
  for (uint64_t done = 0; done < total;) {
    const uint64_t step = std::min<uint64_t>(total - done, client_->facts().max_bytes);
    const IovecPart part(buffers, done, step);
    CO_TRY_VOID(co_await client_->read(offset + done, part.buffers()));
    done += step;
  }
  co_return {};
}

Task<Result<void>> NbdDisk::write(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  CHECK(range_fits(offset, total, size_bytes()) && !read_only());
  forget_status();
  for (uint64_t done = 0; done < total;) {
    const uint64_t step = std::min<uint64_t>(total - done, client_->facts().max_bytes);
    const IovecPart part(buffers, done, step);
    CO_TRY_VOID(co_await client_->write(offset + done, part.buffers()));
    done += step;
  }
  forget_status();
  co_return {};
}

// A server without NBD_CMD_FLUSH claims that what it has answered is durable.
Task<Result<void>> NbdDisk::flush() {
  if (flush_error_) co_return std::unexpected(*flush_error_);
  if (options_.ignore_flushes || read_only() || !client_->has(kSendFlush)) co_return {};
  const Result<void> flushed = co_await client_->command(Command::kFlush, 0, 0, 0);
  if (!flushed) flush_error_ = flushed.error();
  co_return flushed;
}

Task<Result<void>> NbdDisk::command_on(Command command, uint16_t flags, uint64_t offset,
                                       uint64_t length) {
  forget_status();
  for (uint64_t done = 0; done < length;) {
    const auto step = static_cast<uint32_t>(std::min<uint64_t>(length - done, kMaxCommandBytes));
    CO_TRY_VOID(co_await client_->command(command, flags, offset + done, step));
    done += step;
  }
  forget_status();
  co_return {};
}

Task<Result<void>> NbdDisk::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
  CHECK(range_fits(offset, length, size_bytes()) && !read_only());
  if (!client_->has(kSendWriteZeroes)) co_return co_await write_zero_bytes(offset, length);
  co_return co_await command_on(Command::kWriteZeroes, may_unmap ? uint16_t{0} : kCommandNoHole,
                                offset, length);
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
  co_return co_await command_on(Command::kTrim, 0, offset, length);
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
  status.path = client_->name();
  return status;
}

Task<Result<BlockStatus>> NbdDisk::block_status(uint64_t offset, uint64_t length) {
  CHECK(length > 0 && range_fits(offset, length, size_bytes()));
  if (!client_->facts().allocation_context)
    co_return placed({.length = length, .data = true, .present = true}, offset);
  if (const auto known = known_status(offset, length)) co_return placed(*known, offset);
  const uint64_t before = changes_;
  const auto asked =
      static_cast<uint32_t>(std::min<uint64_t>(size_bytes() - offset, kMaxCommandBytes));
  CO_TRY(std::vector<ExtentDescriptor> extents, co_await client_->block_status(offset, asked));
  const uint64_t first = std::min<uint64_t>(extents.front().length, length);
  const BlockStatus status = placed(to_status(extents.front(), first), offset);
  if (before == changes_) {
    status_offset_ = offset;
    extents_ = std::move(extents);
  }
  co_return status;
}

Task<Result<void>> NbdDisk::close() { co_return co_await flush(); }

}  // namespace hull::blockcore::nbd
