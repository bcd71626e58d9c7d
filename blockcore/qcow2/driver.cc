#include "blockcore/qcow2/driver.h"

#include <algorithm>
#include <cstring>

#include "base/endian.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr FormatMagic kMagics[] = {{0, "QFI\xfb"}};

// A backing file or an external data file; the header is not checked.
bool names_other_files(std::string_view start) {
  struct Header {  // what an image begins with
    Be32 magic;
    Be32 version;
    Be64 backing_file_offset;
    uint8_t between[56];
    Be64 incompatible_features;  // from version 3 on
  };
  static_assert(sizeof(Header) == 80);
  constexpr uint64_t kExternalDataFile = 1u << 2;
  Header header{};
  std::memcpy(&header, start.data(), std::min(start.size(), sizeof header));
  return header.backing_file_offset != 0 ||
         (header.version >= 3 && (header.incompatible_features & kExternalDataFile) != 0);
}

}  // namespace

constinit const FormatDriver kDriver{.name = "qcow2",
                                     .format = DiskFormat::kQcow2,
                                     .has = {.metadata = true,
                                             .backing = true,
                                             .snapshots = true,
                                             .bitmaps = true,
                                             .compression = true,
                                             .checks = true,
                                             .amendment = true},
                                     .magics = kMagics,
                                     .names_other_files = names_other_files};

}  // namespace hull::blockcore::qcow2
