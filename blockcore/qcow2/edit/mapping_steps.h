// The bounded steps that make and delete snapshots while the disk serves requests (snapshots.h). In
// each the gate is closed; between them requests run. All of it is durable with the next
// MetadataEdit::begin().
//
// Whatever fails in the midst of a step leaves counts that are too high, or COPIED flags that are
// clear without need, and nothing worse.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "blockcore/qcow2/edit/metadata_edit.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore::qcow2 {

class MappingSteps {
 public:
  // `step_bytes` of L2 tables in a step, at least one table. Borrows both.
  MappingSteps(Parts& parts, MetadataEdit& edit, uint64_t step_bytes)
      : parts_(parts),
        edit_(edit),
        tables_(std::max<uint64_t>(step_bytes >> parts.image.geometry.cluster_bits, 1)) {}

  // The active L1 table, with what lies behind the disk; the gate is closed. Freezes the tables
  // that it names.
  Task<Result<std::vector<uint64_t>>> freeze_active();

  // Counts the frozen tables and all that they map once more, takes COPIED away, thaws them. After
  // an error some stay frozen.
  Task<Result<void>> share_frozen();
  // The L1 entries of those that are not frozen any more.
  std::span<const uint64_t> shared() const { return shared_; }

  // Counts tables, which no L1 table in the file names any more, and all that they map once less;
  // what nobody refers to is given back to the host and can be allocated again.
  Task<Result<void>> drop(std::span<const uint64_t> l1);

  // Makes COPIED in the active mapping what the counts say.
  Task<Result<void>> restore_flags();

 private:
  Task<Result<void>> share(std::span<const uint64_t> indexes);
  Task<Result<std::vector<HostRun>>> drop_counted(std::span<const uint64_t> l1);
  Task<Result<void>> restore(std::span<const uint64_t> indexes);
  uint64_t active_entry(uint64_t index) const;
  Task<Result<void>> set_active_entry(uint64_t index, uint64_t value);
  std::vector<uint64_t> next_active(uint64_t& index) const;

  Parts& parts_;
  MetadataEdit& edit_;
  const size_t tables_;           // in a step
  std::vector<uint64_t> active_;  // when it was frozen
  std::vector<uint64_t> shared_;
};

}  // namespace hull::blockcore::qcow2
