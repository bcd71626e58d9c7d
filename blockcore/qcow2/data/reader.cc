#include "blockcore/qcow2/data/reader.h"

#include <algorithm>
#include <cstring>

#include "blockcore/async/run_all.h"
#include "blockcore/engine/iovecs.h"

namespace hull::blockcore::qcow2 {

Task<Result<void>> Reader::read(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  for (uint64_t done = 0; done < total;) {
    const std::optional<Extent> extent = image_.map.find(offset + done, total - done);
    if (!extent) {
      CO_TRY_VOID(co_await image_.map.load(offset + done));
    } else if (extent->kind == ClusterKind::kNormal && extent->length == total) {
      co_return co_await read_data(offset, extent->host_offset, buffers);
    } else if (extent->kind == ClusterKind::kCompressed) {
      const IovecPart rest(buffers, done, total - done);
      CO_TRY(const uint64_t length,
             co_await compressed_.read(offset + done, *extent, rest.buffers()));
      done += length;
    } else if (extent->length == total) {
      co_return co_await read_extent(offset, *extent, buffers);
    } else {
      // Started at once: nothing can move what has just been found.
      std::vector<Task<Result<void>>> pieces;
      done += start_pieces(offset, buffers, done, pieces);
      CO_TRY_VOID(co_await run_all(std::move(pieces)));
    }
  }
  co_return {};
}

// A read of each extent in turn while the mapping is known and not compressed; returns how many
// bytes they cover.
uint64_t Reader::start_pieces(uint64_t offset, std::span<const iovec> buffers, uint64_t done,
                              std::vector<Task<Result<void>>>& pieces) {
  const uint64_t total = total_bytes(buffers);
  uint64_t covered = 0;
  while (done + covered < total && pieces.size() < kMaxPieces) {
    const uint64_t begin = done + covered;
    const std::optional<Extent> extent = image_.map.find(offset + begin, total - begin);
    if (!extent || extent->kind == ClusterKind::kCompressed) break;
    pieces.push_back(read_piece(offset + begin, *extent, buffers, begin));
    covered += extent->length;
  }
  return covered;
}

Task<Result<void>> Reader::read_piece(uint64_t offset, Extent extent,
                                      std::span<const iovec> buffers, uint64_t done) {
  const IovecPart part(buffers, done, extent.length);
  co_return co_await read_extent(offset, extent, part.buffers());
}

Task<Result<void>> Reader::read_extent(uint64_t offset, const Extent& extent,
                                       std::span<const iovec> buffers) {
  switch (extent.kind) {
    case ClusterKind::kNormal: co_return co_await read_data(offset, extent.host_offset, buffers);
    case ClusterKind::kUnallocated: co_return co_await read_backing(offset, buffers);
    case ClusterKind::kZero: zero_iovecs(buffers, 0, extent.length); co_return {};
    case ClusterKind::kCompressed:
    case ClusterKind::kInvalid: break;
  }
  co_return std::unexpected(image_.map.invalid_entry(offset, extent));
}

Task<Result<void>> Reader::read_data(uint64_t offset, uint64_t host_offset,
                                     std::span<const iovec> buffers) {
  const InUse::Hold hold(image_.in_use);
  // The IVs of the old AES encryption follow from the guest's sectors.
  if (image_.header->encryption_method == kEncryptionAes)
    co_return co_await image_.encrypted->read_as(host_offset, offset, buffers);
  co_return co_await image_.data().read_or_zero(host_offset, buffers);
}

// A backing disk that is shorter reads as zeros past its end.
Task<Result<void>> Reader::read_backing(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  const uint64_t backing_bytes = image_.backing_bytes();
  const uint64_t inside = offset >= backing_bytes ? 0 : std::min(total, backing_bytes - offset);
  zero_iovecs(buffers, inside, total - inside);
  if (inside == 0) co_return {};
  if (inside == total) co_return co_await image_.backing->read(offset, buffers);
  const IovecPart part(buffers, 0, inside);
  co_return co_await image_.backing->read(offset, part.buffers());
}

Task<Result<void>> Reader::read_for_copy(uint64_t offset, std::span<std::byte> data) {
  const uint64_t inside =
      offset >= image_.size_bytes() ? 0 : std::min(data.size(), image_.size_bytes() - offset);
  std::ranges::fill(data.subspan(inside), std::byte{});
  if (inside == 0) co_return {};
  const iovec buffer{data.data(), inside};
  co_return co_await read(offset, {&buffer, 1});
}

}  // namespace hull::blockcore::qcow2
