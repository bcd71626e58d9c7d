#include <string>

#include "tools/hull/verbs.h"

namespace hull::cli {

// HULL_COMMIT: the last commit that changed the program, "" outside a clone (CMakeLists.txt).
std::string version_text() {
  const std::string_view commit = HULL_COMMIT;
  return std::string(HULL_VERSION) + (commit.empty() ? "" : " (" + std::string(commit) + ")");
}

}  // namespace hull::cli
