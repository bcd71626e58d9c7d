// Files that grow by what others say, kept within bounds as virtlogd(8) keeps them.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace hull {

inline constexpr uint64_t kMaxLogFileBytes = uint64_t{2} << 20;
inline constexpr unsigned kOldLogFiles = 3;  // PATH.0 (youngest) to PATH.2

// PATH becomes PATH.0, PATH.0 PATH.1, and so on; the oldest is gone, absent ones are skipped.
Result<void> rotate_log(const std::string& path);

}  // namespace hull
