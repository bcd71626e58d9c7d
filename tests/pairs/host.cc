#include "tests/pairs/host.h"

namespace hull::pairs {

using blockcore::CacheMode;
using blockcore::IoEngineKind;

testing::LocalHostOptions pick_host(const Cell& cell) {
  testing::LocalHostOptions options;
  options.engine = cell.options.seed % 2 == 0 ? IoEngineKind::kThreads : IoEngineKind::kAutomatic;
  if (cell.row == Row::kDirect) options.cache = CacheMode::kNone;
  return options;
}

CellHost::CellHost(const Cell& cell) {
  if (!cell.has_real_files()) return;
  directory_.emplace();
  host_.emplace(*directory_, pick_host(cell));
}

CellHost::CellHost(const testing::LocalHostOptions& options) {
  directory_.emplace();
  host_.emplace(*directory_, options);
}

}  // namespace hull::pairs
