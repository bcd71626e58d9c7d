#include "blockcore/qcow2/alloc/write_back.h"

#include <algorithm>
#include <vector>

namespace hull::blockcore::qcow2 {

Task<Result<void>> write_slices(File& file, SliceCache::Copies& copies, uint32_t slice_bytes) {
  std::ranges::sort(copies.slices, {}, &SliceCache::Copy::host_offset);
  std::vector<iovec> buffers;
  for (size_t first = 0; first < copies.slices.size();) {
    const uint64_t offset = copies.slices[first].host_offset;
    buffers.clear();
    size_t next = first;
    while (next < copies.slices.size() &&
           copies.slices[next].host_offset == offset + (next - first) * slice_bytes) {
      buffers.push_back({const_cast<std::byte*>(copies.slices[next].bytes), slice_bytes});
      ++next;
    }
    CO_TRY_VOID(co_await file.write(offset, buffers));
    first = next;
  }
  co_return {};
}

}  // namespace hull::blockcore::qcow2
