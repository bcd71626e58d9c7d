// What streaming (image/stream.h) does to a disk that serves requests: the gate is closed for as
// long as a range is copied, so that no request comes between reading and writing it.
#include "blockcore/engine/iovecs.h"
#include "blockcore/qcow2/edit/bitmap_tracker.h"
#include "blockcore/qcow2/mapping/status.h"
#include "blockcore/qcow2/parts.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {

// The contents stay the same, so no bitmap hears of it. What reads as zeros needs no cluster.
Task<Result<void>> Qcow2Disk::pull_extent(uint64_t offset, uint64_t length) {
  const std::unique_ptr<std::byte[]> memory = std::make_unique_for_overwrite<std::byte[]>(length);
  const iovec buffer{memory.get(), length};
  CO_TRY_VOID(co_await parts_->reader.read(offset, {&buffer, 1}));
  if (is_zero({&buffer, 1})) co_return {};
  if (needs_preparation()) CO_TRY_VOID(co_await prepare_change());
  co_return co_await parts_->writer.write(offset, {&buffer, 1});
}

Task<Result<void>> Qcow2Disk::pull(uint64_t offset, uint64_t length) {
  CHECK(!read_only_);
  const AsyncMutex::Guard editing = co_await parts_->editing.lock();
  const Gate::Closed closed = co_await parts_->image.gate.close();
  const uint64_t end = std::min(offset + length, size_bytes());
  while (offset < end) {
    CO_TRY(const BlockStatus status,
           co_await qcow2::block_status(parts_->image, offset, end - offset));
    const bool own = status.present && status.depth == 0;
    if (!own && !status.zero) CO_TRY_VOID(co_await pull_extent(offset, status.length));
    offset += status.length;
  }
  co_return {};
}

Result<void> Qcow2Disk::check_forgettable_backing() const {
  if (header().snapshot_count == 0) return {};
  return fail(ErrorKind::kUnsupported,
              "{}: has internal snapshots, which read from the backing file as well",
              file().path());
}

Task<Result<void>> Qcow2Disk::forget_backing() {
  CHECK(!read_only_);
  const AsyncMutex::Guard editing = co_await parts_->editing.lock();
  const Gate::Closed closed = co_await parts_->image.gate.close();
  qcow2::Image& image = parts_->image;
  CO_TRY_VOID(check_forgettable_backing());
  CO_TRY_VOID(co_await prepare_change());
  CO_TRY_VOID(co_await parts_->committer.commit());
  CO_TRY_VOID(co_await image.header.set_backing(*image.file, "", std::nullopt));
  const std::unique_ptr<Disk> old = std::move(image.backing);
  image.backing_image = nullptr;
  if (old != nullptr) co_return co_await old->close();
  co_return {};
}

}  // namespace hull::blockcore
