#include "tests/support/disk_trace.h"

#include <fmt/core.h>

#include <algorithm>

namespace hull::testing {

std::string DiskTrace::run(unsigned count, unsigned depth, const std::function<void()>& midway) {
  const unsigned half = count / 2;
  bool called = !midway;
  while (count != 0 || !in_flight_.empty()) {
    if (!called && count <= half) {
      called = true;
      midway();
    }
    if (count != 0 && in_flight_.size() < depth && below(3) != 0) {
      --count;
      in_flight_.push_back(pick());
      blockcore::start_detached(perform(std::prev(in_flight_.end())));
    } else if (!queue_.empty()) {
      queue_.resume(below(queue_.size()));
    } else if (!in_flight_.empty()) {
      return "operations hang";
    }
  }
  return trouble_;
}

DiskTrace::Operation DiskTrace::pick() {
  static constexpr Kind kKinds[] = {Kind::kRead,  Kind::kRead,     Kind::kWrite,   Kind::kWrite,
                                    Kind::kWrite, Kind::kZero,     Kind::kDiscard, Kind::kFlush,
                                    Kind::kWrite, Kind::kZeroUnmap};
  const uint64_t size = model_.size();
  for (unsigned attempt = 0; attempt < 20; ++attempt) {
    Operation one{.kind = kKinds[below(std::size(kKinds))]};
    if (one.kind == Kind::kFlush) return one;
    place(one);
    one.length = std::min(one.length, size - one.offset);
    if (one.kind == Kind::kWrite && compressing_ != nullptr && below(compressed_one_in_) == 0) {
      const uint64_t cluster = compressing_->discard_granularity_bytes();
      one.kind = Kind::kCompressed;
      one.offset = one.offset / cluster * cluster;
      one.length = std::min(cluster, size - one.offset);
    }
    if (overlaps(one.offset, one.length)) continue;
    fill(one);
    return one;
  }
  return {.kind = Kind::kFlush};
}

void DiskTrace::place(Operation& one) {
  const uint64_t size = model_.size();
  // Often near what others touch, often aligned to something.
  const uint64_t alignment = uint64_t{1} << (below(2) == 0 ? 9 : below(17));
  if (crowd_bytes_ != 0 && one.kind != Kind::kRead) {
    const uint64_t step = std::min<uint64_t>(alignment, 512);
    one.offset = std::min(size - 1, crowd_offset_ + below(crowd_bytes_) / step * step);
    one.length = 1 + below(1500);
    if (below(2) == 0) one.length = std::max<uint64_t>(one.length / step * step, step);
    return;
  }
  one.offset = below(size) / alignment * alignment;
  one.length = 1 + below(below(4) == 0 ? size / 4 : 6000);
  if (below(2) == 0) one.length = std::max<uint64_t>(one.length / 512 * 512, 512);
  if (below(8) == 0) one.length = size;
}

void DiskTrace::fill(Operation& one) {
  if (one.kind == Kind::kRead) one.data.assign(one.length, 0xee);
  if (one.kind != Kind::kWrite && one.kind != Kind::kCompressed) return;
  one.data.resize(one.length);
  // What is to be compressed gets smaller by half or more.
  const uint64_t noise = one.kind == Kind::kWrite ? one.length : below(one.length / 2);
  uint64_t state = random_() | uint64_t{1} << 32;
  for (uint64_t at = 0; at < noise; ++at) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    one.data[at] = static_cast<uint8_t>(state >> 11);
  }
}

void DiskTrace::copy_at_cut(std::vector<uint8_t>& copy) {
  copy = model_;
  for (Operation& one : in_flight_) one.copy = &copy;
}

std::vector<uint8_t> DiskTrace::take_touched() {
  touched_.resize(model_.size());
  return std::exchange(touched_, {});
}

bool DiskTrace::overlaps(uint64_t offset, uint64_t length) const {
  return std::ranges::any_of(in_flight_, [&](const Operation& other) {
    return offset < other.offset + other.length && other.offset < offset + length;
  });
}

blockcore::Task<void> DiskTrace::perform(std::list<Operation>::iterator operation) {
  touched_.resize(model_.size());
  if (operation->kind != Kind::kRead)
    std::fill_n(touched_.begin() + static_cast<ptrdiff_t>(operation->offset), operation->length,
                uint8_t{1});
  const iovec buffer{operation->data.data(), operation->data.size()};
  Result<void> result = co_await start(*operation, buffer);
  co_await finish(*operation, std::move(result));
  if (operation->copy != nullptr)
    std::copy_n(model_.begin() + static_cast<ptrdiff_t>(operation->offset), operation->length,
                operation->copy->begin() + static_cast<ptrdiff_t>(operation->offset));
  in_flight_.erase(operation);
}

blockcore::Task<Result<void>> DiskTrace::start(Operation& operation, const iovec& buffer) {
  const uint64_t offset = operation.offset;
  const uint64_t length = operation.length;
  switch (operation.kind) {
    case Kind::kRead: co_return co_await disk_.read(offset, {&buffer, 1});
    case Kind::kWrite: co_return co_await disk_.write(offset, {&buffer, 1});
    case Kind::kZero: co_return co_await disk_.write_zeroes(offset, length, false);
    case Kind::kZeroUnmap: co_return co_await disk_.write_zeroes(offset, length, true);
    case Kind::kDiscard: co_return co_await disk_.discard(offset, length);
    case Kind::kCompressed: co_return co_await write_compressed(operation);
    case Kind::kFlush: break;
  }
  co_return co_await disk_.flush();
}

blockcore::Task<Result<void>> DiskTrace::write_compressed(Operation& operation) {
  std::vector<uint8_t> cluster = operation.data;
  cluster.resize(compressing_->discard_granularity_bytes());
  std::vector<std::byte> stream(cluster.size());
  blockcore::qcow2::Compressor compressor(compressing_->header().compression);
  stream.resize(compressor.compress(std::as_bytes(std::span(cluster)), stream));
  if (stream.empty()) {
    const iovec buffer{operation.data.data(), operation.data.size()};
    co_return co_await disk_.write(operation.offset, {&buffer, 1});
  }
  const blockcore::qcow2::CompressedCluster one{operation.offset, stream};
  co_return co_await compressing_->write_compressed({&one, 1});
}

blockcore::Task<void> DiskTrace::finish(Operation& operation, Result<void> result) {
  const auto at = model_.begin() + static_cast<ptrdiff_t>(operation.offset);
  if (!result) {
    ++failures_;
    if (!failures_allowed_) trouble_ = result.error().message();
    if (operation.kind == Kind::kRead || operation.kind == Kind::kFlush) co_return;
    (void)co_await learn(operation.offset, operation.length);
    co_return;
  }
  switch (operation.kind) {
    case Kind::kFlush: break;
    case Kind::kRead:
      if (!std::equal(operation.data.begin(), operation.data.end(), at))
        trouble_ = fmt::format("read of {:#x} bytes at {:#x} gave other bytes", operation.length,
                               operation.offset);
      break;
    case Kind::kWrite:
    case Kind::kCompressed: std::ranges::copy(operation.data, at); break;
    case Kind::kZero:
    case Kind::kZeroUnmap: std::fill_n(at, operation.length, uint8_t{0}); break;
    case Kind::kDiscard: {
      // Byte by byte as before, or zero.
      const std::vector<uint8_t> before(at, at + static_cast<ptrdiff_t>(operation.length));
      if (!co_await learn(operation.offset, operation.length)) co_return;
      for (size_t i = 0; i < before.size(); ++i)
        if (at[static_cast<ptrdiff_t>(i)] != 0 && at[static_cast<ptrdiff_t>(i)] != before[i])
          trouble_ = fmt::format("discard at {:#x} changed byte {:#x}", operation.offset,
                                 operation.offset + i);
    }
  }
}

blockcore::Task<Result<void>> DiskTrace::learn(uint64_t offset, uint64_t length) {
  const iovec buffer{model_.data() + offset, length};
  auto read = co_await disk_.read(offset, {&buffer, 1});
  // The one fault that was injected may have been for this.
  if (!read && failures_allowed_) read = co_await disk_.read(offset, {&buffer, 1});
  co_return std::move(read);
}

std::string DiskTrace::verify() {
  std::vector<uint8_t> data(model_.size(), 0xee);
  bool done = false;
  std::string trouble;
  blockcore::start_detached([](DiskTrace& trace, std::vector<uint8_t>& out, std::string& error,
                               bool& end) -> blockcore::Task<void> {
    const iovec buffer{out.data(), out.size()};
    auto result = co_await trace.disk_.read(0, {&buffer, 1});
    if (!result) error = result.error().message();
    end = true;
  }(*this, data, trouble, done));
  while (!queue_.empty()) queue_.resume(0);
  if (!done) return "the read hangs";
  if (!trouble.empty()) return trouble;
  const auto [mine, theirs] = std::ranges::mismatch(model_, data);
  if (mine == model_.end()) return "";
  return fmt::format("byte {:#x} is {:#x}, not {:#x}", mine - model_.begin(), *theirs, *mine);
}

}  // namespace hull::testing
