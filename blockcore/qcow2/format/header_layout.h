// The bytes of the fixed header: docs/interop/qcow2, "Header".
#pragma once

#include <cstddef>

#include "base/endian.h"

namespace hull::blockcore::qcow2 {

struct HeaderLayout {
  Be32 magic;                    // 0
  Be32 version;                  // 4
  Be64 backing_name_offset;      // 8
  Be32 backing_name_bytes;       // 16
  Be32 cluster_bits;             // 20
  Be64 size_bytes;               // 24
  Be32 encryption_method;        // 32
  Be32 l1_entries;               // 36
  Be64 l1_offset;                // 40
  Be64 refcount_table_offset;    // 48
  Be32 refcount_table_clusters;  // 56
  Be32 snapshot_count;           // 60
  Be64 snapshots_offset;         // 64
  // Version 3.
  Be64 incompatible;    // 72
  Be64 compatible;      // 80
  Be64 autoclear;       // 88
  Be32 refcount_order;  // 96
  Be32 header_length;   // 100
  Be32 compression;     // 104: the type in the first byte, three bytes of padding
  Be32 padding;         // 108
};
static_assert(sizeof(HeaderLayout) == 112 && alignof(HeaderLayout) == 1);
static_assert(offsetof(HeaderLayout, snapshots_offset) == 64);
static_assert(offsetof(HeaderLayout, header_length) == 100);

}  // namespace hull::blockcore::qcow2
