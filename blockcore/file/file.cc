#include "blockcore/file/file.h"

namespace hull::blockcore {

Result<FileRange> File::range_at(uint64_t offset) const {
  const uint64_t size = size_bytes();
  if (offset < size) return FileRange{.hole = false, .length = size - offset};
  return FileRange{.hole = true, .length = UINT64_MAX - offset};
}

Task<Result<uint64_t>> File::copy_from(const File& source, uint64_t, uint64_t, uint64_t) {
  co_return fail(ErrorKind::kUnsupported, "{}: nothing can be copied from {} in the kernel", path(),
                 source.path());
}

Task<Result<void>> read_exactly(File& file, uint64_t offset, std::span<std::byte> data) {
  const iovec buffer{data.data(), data.size()};
  co_return co_await file.read(offset, {&buffer, 1});
}

Task<Result<void>> write_exactly(File& file, uint64_t offset, std::span<const std::byte> data) {
  // The kernel only reads from it.
  const iovec buffer{const_cast<std::byte*>(data.data()), data.size()};
  co_return co_await file.write(offset, {&buffer, 1});
}

}  // namespace hull::blockcore
