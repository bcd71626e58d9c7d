#include "base/log_rotation.h"

#include <cerrno>
#include <cstdio>

namespace hull {

Result<void> rotate_log(const std::string& path) {
  for (unsigned age = kOldLogFiles; age-- > 0;) {
    const std::string older = fmt::format("{}.{}", path, age);
    const std::string younger = age == 0 ? path : fmt::format("{}.{}", path, age - 1);
    if (std::rename(younger.c_str(), older.c_str()) != 0 && errno != ENOENT)
      return std::unexpected(Error::from_errno(fmt::format("rotate '{}'", younger)));
  }
  return {};
}

}  // namespace hull
