// Files without a name: gone when the last descriptor closes, also when the process is killed.
#pragma once

#include <string>

#include "base/unique_fd.h"

namespace hull::blockcore {

// An empty file for reading and writing, mode 0600, in `directory`. Where the file system does not
// know O_TMPFILE it has a random name for the instant between two system calls.
Result<UniqueFd> create_ephemeral_file(const std::string& directory);

// In $TMPDIR where that is set, else beside `neighbour`, else in /var/tmp.
Result<UniqueFd> create_ephemeral_file_near(const std::string& neighbour);

}  // namespace hull::blockcore
