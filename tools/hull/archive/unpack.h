// A tar archive that somebody else has written (a guest), into a directory. Nothing is made, opened
// or followed outside that directory, whatever the names say: entries with "..", from the root,
// with links that lead out, and all that is no file, directory or link are left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hull::cli {

struct Unpacked {
  uint64_t entries = 0;              // what is in the archive
  uint64_t left_out = 0;             // of these
  std::vector<std::string> reasons;  // for the first few of them: "'../x' leads out of …"
  // The first bytes of the file that was asked for, if it was in the archive.
  std::optional<std::string> watched;
};

// The first `bytes` bytes of `fd`, or less, into `directory`, which is made if it does not exist.
// What has the same name there is replaced, but for directories. Permission bits without set-id
// ones (less the umask) and times are kept, owners are not. `watched` may be empty. kInvalidFormat:
// the archive is damaged; what stands before that place has been unpacked.
Result<Unpacked> unpack_directory(int fd, uint64_t bytes, const std::string& directory,
                                  const std::string& watched);

}  // namespace hull::cli
