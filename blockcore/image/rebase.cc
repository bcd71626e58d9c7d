#include "blockcore/image/rebase.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/checked.h"
#include "blockcore/backing_name.h"
#include "blockcore/engine/iovecs.h"
#include "blockcore/image/backing_chain.h"
#include "blockcore/image/chain_files.h"
#include "blockcore/image/padded_disk.h"
#include "blockcore/image/single_image.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore {
namespace {

using Buffer = std::unique_ptr<std::byte[]>;

// What lies past the end of the disk is zeros.
Task<Result<void>> read_padded(Disk& disk, uint64_t offset, std::span<std::byte> data) {
  const uint64_t end = std::max(offset, std::min(disk.size_bytes(), offset + data.size()));
  const iovec buffer{data.data(), end - offset};
  if (buffer.iov_len != 0) CO_TRY_VOID(co_await disk.read(offset, {&buffer, 1}));
  std::ranges::fill(data.subspan(buffer.iov_len), std::byte{});
  co_return {};
}

class Puller final : public ChunkWork {
 public:
  Puller(Qcow2Disk& overlay, Disk* other)
      : overlay_(overlay),
        other_(other),
        old_bytes_(overlay.parts().image.backing_bytes()),
        granule_(overlay.parts().image.geometry.granule_bytes()) {}

  Task<Result<void>> run(uint64_t offset, uint64_t length) override {
    for (const uint64_t end = offset + length; offset < end;) {
      CO_TRY(const BlockStatus status, co_await overlay_.block_status(offset, end - offset));
      const bool own = status.present && status.depth == 0;
      if (!own && status.zero)
        CO_TRY_VOID(co_await pull_where_other_has_data(offset, offset + status.length));
      else if (!own)
        CO_TRY_VOID(co_await pull(offset, status.length));
      offset += status.length;
    }
    co_return {};
  }

 private:
  // Where both are zeros there is nothing to compare. The disk reads as zeros from `offset` to
  // `end`.
  Task<Result<void>> pull_where_other_has_data(uint64_t offset, uint64_t end) {
    const uint64_t other_end = other_ == nullptr ? 0 : std::min(end, other_->size_bytes());
    for (uint64_t at = offset; at < other_end;) {
      CO_TRY(const BlockStatus status, co_await other_->block_status(at, other_end - at));
      const uint64_t next = at + status.length;
      if (status.zero) {
        at = next;
        continue;
      }
      const uint64_t first = std::max(offset, align_down(at, granule_));
      const uint64_t last = std::min(end, align_up(next, granule_));
      CO_TRY_VOID(co_await pull(first, last - first));
      at = last;
    }
    co_return {};
  }

  Task<Result<void>> pull(uint64_t offset, uint64_t length) {
    const Buffer old_memory = std::make_unique_for_overwrite<std::byte[]>(length);
    const std::span<std::byte> now{old_memory.get(), length};
    CO_TRY_VOID(co_await read_padded(overlay_, offset, now));
    const Buffer new_memory = std::make_unique<std::byte[]>(length);
    const std::span<std::byte> then{new_memory.get(), length};
    if (other_ != nullptr) CO_TRY_VOID(co_await read_padded(*other_, offset, then));
    for (uint64_t at = 0; at < length;) {
      const uint64_t same = run_of(now, then, at, /*equal=*/true);
      at += same;
      const uint64_t different = run_of(now, then, at, /*equal=*/false);
      if (different != 0) CO_TRY_VOID(co_await keep(offset + at, now.subspan(at, different)));
      at += different;
    }
    co_return {};
  }

  // Whole granules from `at` on that are alike, or that are not.
  uint64_t run_of(std::span<const std::byte> a, std::span<const std::byte> b, uint64_t at,
                  bool equal) const {
    const uint64_t first = at;
    while (at < a.size()) {
      const uint64_t count = std::min(granule_, a.size() - at);
      if ((std::memcmp(a.data() + at, b.data() + at, count) == 0) != equal) break;
      at += count;
    }
    return at - first;
  }

  Task<Result<void>> keep(uint64_t offset, std::span<std::byte> data) {
    // Past the end of the old backing disk an image does not know that zeros need an entry.
    if (is_zero(data) && offset + data.size() <= old_bytes_)
      co_return co_await overlay_.write_zeroes(offset, data.size(), /*may_unmap=*/true);
    const iovec buffer{data.data(), data.size()};
    co_return co_await overlay_.write(offset, {&buffer, 1});
  }

  Qcow2Disk& overlay_;
  Disk* const other_;
  const uint64_t old_bytes_;
  const uint64_t granule_;
};

Result<void> check_backing(const RebaseOptions& options) {
  if (options.backing_name.empty()) return {};
  if (options.backing_format.empty())
    return fail(ErrorKind::kUsage,
                "Could not change the backing file to '{}': backing format must be specified",
                options.backing_name);
  if (auto format = format_of_name(options.path, options.backing_format);
      !format && !options.unsafe)
    return fail(ErrorKind::kUsage, "Invalid format name: '{}'", options.backing_format);
  return {};
}

// What the disk reads is copied first; nobody does that for the snapshots inside.
Result<void> check_snapshots(const RebaseOptions& options, const qcow2::Header& header) {
  if (header.snapshot_count == 0 || options.unsafe || options.change_snapshots) return {};
  if (header.backing_name.empty() && options.backing_name.empty()) return {};
  return fail(ErrorKind::kUnsupported,
              "{}: has {} internal snapshots, which read from the backing file, too, and would "
              "change: delete or convert them first, or say --change-snapshots",
              options.path, header.snapshot_count);
}

// The new chain must not lead back to the overlay, whatever the names are.
Task<Result<void>> check_new_chain(IoEngine& engine, const Qcow2Disk& overlay,
                                   const RebaseOptions& options) {
  if (options.backing_name.empty()) co_return {};
  const auto path = resolve_backing_name(options.path, options.backing_name);
  if (!path) co_return {};  // -u opens nothing
  const std::optional<DiskFormat> format =
      options.backing_format == "raw" ? std::optional(DiskFormat::kRaw) : std::nullopt;
  const std::vector<ChainFile> files = co_await chain_files(engine, *path, format);
  CO_TRY_VOID(check_apart(options.path, files));
  if (!overlay.header().has_data_file()) co_return {};
  CO_TRY(const std::string data,
         resolve_data_file_name(options.path, overlay.header().data_file_name()));
  co_return check_apart(data, files);
}

Task<Result<std::unique_ptr<Disk>>> open_new_backing(IoEngine& engine,
                                                     const RebaseOptions& options) {
  if (options.backing_name.empty()) co_return nullptr;
  OpenOptions open;
  open.cache = options.backing_cache;
  open.read_only = true;
  CO_TRY(open.path, resolve_backing_name(options.path, options.backing_name));
  CO_TRY(open.format, format_of_name(open.path, options.backing_format));
  co_return co_await open_disk(engine, std::move(open));
}

Task<Result<void>> pull_from_chain(IoEngine& engine, Qcow2Disk& overlay,
                                   const RebaseOptions& options) {
  CO_TRY(std::unique_ptr<Disk> old_backing,
         co_await open_backing(engine, overlay, options.backing_cache, options.keys));
  CO_TRY(const std::unique_ptr<Disk> new_backing, co_await open_new_backing(engine, options));
  // As long as the overlay: what becomes zeros past its end is said by entries, not by data.
  overlay.set_backing(std::make_unique<PaddedDisk>(std::move(old_backing), overlay.size_bytes()));
  CO_TRY_VOID(co_await pull_differences(overlay, new_backing.get(), options.progress));
  if (new_backing != nullptr) CO_TRY_VOID(co_await new_backing->close());
  co_return {};
}

}  // namespace

Task<Result<void>> pull_differences(Qcow2Disk& overlay, Disk* other,
                                    const ProgressReport& progress) {
  Puller puller(overlay, other);
  CO_TRY_VOID(co_await for_each_chunk(overlay.size_bytes(), puller, progress));
  co_return co_await overlay.flush();
}

Task<Result<void>> rebase_image(IoEngine& engine, RebaseOptions options) {
  CO_TRY_VOID(check_backing(options));
  SingleImageOptions single{.path = options.path,
                            .format = options.format,
                            .cache = options.cache,
                            .key = key_of_level(options.keys, 0)};
  CO_TRY(const std::unique_ptr<Qcow2Disk> overlay,
         co_await open_single_qcow2(engine, std::move(single)));
  if (!options.backing_name.empty() && overlay->header().data_file_is_raw())
    co_return fail(
        ErrorKind::kInvalidConfig,
        "Could not change the backing file to '{}': Invalid argument: '{}' has a raw data "
        "file, which holds all that is read",
        options.backing_name, options.path);
  CO_TRY_VOID(check_snapshots(options, overlay->header()));
  CO_TRY_VOID(co_await check_new_chain(engine, *overlay, options));
  if (!options.unsafe) CO_TRY_VOID(co_await pull_from_chain(engine, *overlay, options));
  std::optional<std::string> format;
  if (!options.backing_name.empty()) format = options.backing_format;
  CO_TRY_VOID(co_await overlay->parts().image.header.set_backing(
      *overlay->parts().image.file, options.backing_name, std::move(format)));
  co_return co_await overlay->close();
}

}  // namespace hull::blockcore
