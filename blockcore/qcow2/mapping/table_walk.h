// Visits many metadata tables (L2 tables, refcount blocks) of an image that nobody changes
// meanwhile: neighbours are read together, several requests are in flight, and the visitor still
// sees the tables one by one and in order. Needs a few MiB, however many tables there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "blockcore/file/file.h"

namespace hull::blockcore::qcow2 {

class TableVisitor {
 public:
  virtual ~TableVisitor() = default;
  // `table` number `index` of the list as it stands in the file. True: it was changed here, and is
  // written back before the next one is visited.
  virtual bool visit(size_t index, std::span<std::byte> table) = 0;
};

// `offsets` are host bytes below kMaxHostBytes; what lies past the end of the file is zeros. After
// an error no more tables are visited.
Task<Result<void>> visit_tables(File& file, std::span<const uint64_t> offsets, uint64_t table_bytes,
                                TableVisitor& visitor);

}  // namespace hull::blockcore::qcow2
