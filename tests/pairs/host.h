// Where a cell's files are: in memory, or in a directory if the row is about real ones.
#pragma once

#include <optional>

#include "tests/pairs/cells.h"
#include "tests/support/local_host.h"

namespace hull::pairs {

class CellHost {
 public:
  explicit CellHost(const Cell& cell);
  // Real files for any row.
  explicit CellHost(const testing::LocalHostOptions& options);

  testing::LocalHost* get() { return host_ ? &*host_ : nullptr; }
  const testing::TemporaryDirectory& directory() const { return *directory_; }

 private:
  std::optional<testing::TemporaryDirectory> directory_;
  std::optional<testing::LocalHost> host_;
};

testing::LocalHostOptions pick_host(const Cell& cell);

}  // namespace hull::pairs
