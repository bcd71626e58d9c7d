#include "blockcore/disk.h"

#include "blockcore/file/file.h"

namespace hull::blockcore {

Task<Result<uint64_t>> Disk::copy_from(const File& source, uint64_t, uint64_t, uint64_t) {
  co_return fail(ErrorKind::kUnsupported, "nothing can be copied from {} in the kernel",
                 source.path());
}

}  // namespace hull::blockcore
