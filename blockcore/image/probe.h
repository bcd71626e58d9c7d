// Which format an image seems to have: this is the only place that looks, for tools whose user did
// not say; a disk is never opened by what this says alone.
#pragma once

#include <string_view>

#include "blockcore/file/file.h"
#include "blockcore/open.h"

namespace hull::blockcore {

// As the first bytes have it (of a dmg the last ones). kUnsupported, naming the format, for one
// that hull knows and cannot open: taken for raw, its container would be the disk.
Task<Result<DiskFormat>> probe_format(File& file);

// The same for who has the bytes: the first kProbeStartBytes of the file, and the first of its last
// kProbeTrailerBytes; fewer where it is shorter.
inline constexpr size_t kProbeStartBytes = 128;
inline constexpr uint64_t kProbeTrailerBytes = 512;
inline constexpr size_t kProbeTrailerMagicBytes = 4;  // of a trailer_magic at most
Result<DiskFormat> format_of(std::string_view path, std::string_view start,
                             std::string_view trailer);

// `start` is that of an image that refers to other files (a backing file, a data file).
bool names_other_files(std::string_view start);

}  // namespace hull::blockcore
