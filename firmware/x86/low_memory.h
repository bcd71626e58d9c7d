// Access to the fixed ranges of firmware/x86/layout.h.
#pragma once

#include "base/guest_memory.h"
#include "firmware/x86/layout.h"

namespace hull::firmware {

// load_boot() has checked that RAM covers the first MiB, so these ranges always exist.
inline GuestSlice low_memory(const GuestMemory& memory, const LayoutRange& range) {
  const auto slice = memory.slice(GuestAddress{range.start}, range.size());
  CHECK(slice.has_value());
  return *slice;
}

}  // namespace hull::firmware
