#include "blockcore/image/stream.h"

#include <algorithm>

#include "base/check.h"

namespace hull::blockcore {

Task<Result<bool>> stream_backing(Qcow2Disk& overlay, StreamOptions options) {
  CHECK(options.step_bytes != 0);
  CO_TRY_VOID(overlay.check_forgettable_backing());
  // The disk may become smaller meanwhile.
  for (uint64_t offset = 0; offset < overlay.size_bytes(); offset += options.step_bytes) {
    if (options.may_go_on && !options.may_go_on()) co_return false;
    CO_TRY_VOID(co_await overlay.pull(offset, options.step_bytes));
    const uint64_t total = overlay.size_bytes();
    if (options.progress) options.progress(std::min(offset + options.step_bytes, total), total);
  }
  CO_TRY_VOID(co_await overlay.forget_backing());
  co_return true;
}

}  // namespace hull::blockcore
