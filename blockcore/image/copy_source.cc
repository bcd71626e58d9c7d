#include "blockcore/image/copy_source.h"

#include <algorithm>

#include "base/checked.h"

namespace hull::blockcore {
namespace {

constexpr uint64_t kSalvageBytes = 512;

}  // namespace

Task<Result<CopyChunk>> CopySource::next() {
  const AsyncMutex::Guard guard = co_await scanning_.lock();
  CopyChunk chunk;
  while (cursor_ < options_.source_end()) {
    Kind kind = Kind::kData;
    uint64_t kind_end = options_.source_end();
    if (options_.sparse_bytes != 0) CO_TRY_VOID(co_await look(kind, kind_end));
    if (chunk.length != 0 && kind != Kind::kData) break;
    if (kind == Kind::kNothing) {
      progress_.add(kind_end - cursor_, 0);
      cursor_ = kind_end;
      continue;
    }
    if (chunk.length == 0)
      chunk = {.number = chunks_, .position = cursor_, .zero = kind == Kind::kZero};
    if (kind == Kind::kData) kind_end = std::min(kind_end, chunk_end(chunk.position));
    cursor_ = kind_end;
    chunk.length = cursor_ - chunk.position;
    if (chunk.zero || cursor_ == chunk_end(chunk.position)) break;
  }
  if (chunk.length != 0) ++chunks_;
  co_return chunk;
}

uint64_t CopySource::chunk_end(uint64_t position) const {
  const uint64_t into = options_.to_target(position) & (chunk_bytes_ - 1);
  return std::min(options_.source_end(), position + chunk_bytes_ - into);
}

uint64_t CopySource::unit_end(uint64_t position) const {
  const uint64_t target = options_.to_target(position);
  return align_down(target, unit_bytes_) + unit_bytes_ - target + position;
}

// What begins at the cursor, in whole units.
Task<Result<void>> CopySource::look(Kind& kind, uint64_t& kind_end) {
  CO_TRY(const BlockStatus status,
         co_await disk_.block_status(cursor_, options_.source_end() - cursor_));
  const uint64_t alike_end = cursor_ + status.length;
  if (status.depth >= options_.shared_depth)
    kind = Kind::kNothing;
  else if (status.zero || !status.data)
    kind = options_.target_is_zero ? Kind::kNothing : Kind::kZero;
  if (alike_end == options_.source_end()) {
    kind_end = options_.source_end();
    co_return {};
  }
  const uint64_t last_unit = options_.to_target(alike_end) & (unit_bytes_ - 1);
  if (kind != Kind::kData && alike_end - cursor_ > last_unit) {
    kind_end = alike_end - last_unit;
  } else {
    kind = Kind::kData;
    kind_end = std::min(options_.source_end(), last_unit == 0 ? alike_end : unit_end(alike_end));
  }
  co_return {};
}

Task<Result<void>> CopySource::read(uint64_t position, std::span<std::byte> data) {
  const iovec buffer{data.data(), data.size()};
  auto got = co_await disk_.read(position, {&buffer, 1});
  if (got) co_return {};
  if (!options_.salvage)
    co_return std::move(got).with_context(fmt::format("error while reading at byte {}", position));
  for (uint64_t done = 0; done < data.size(); done += kSalvageBytes) {
    const uint64_t now = std::min(kSalvageBytes, data.size() - done);
    const iovec piece{data.data() + done, now};
    got = co_await disk_.read(position + done, {&piece, 1});
    if (got) continue;
    std::fill_n(data.data() + done, now, std::byte{});
    if (options_.unreadable) options_.unreadable(position + done, got.error());
  }
  co_return {};
}

}  // namespace hull::blockcore
