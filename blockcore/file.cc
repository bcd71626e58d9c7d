#include "blockcore/file.h"

namespace hull::blockcore {

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
