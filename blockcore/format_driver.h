// What hull knows of a format of disk images before it opens one. A format is a folder with one of
// these and a row in format_table.cc; whoever has to name formats, or to tell them apart by their
// first bytes, asks that table.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "base/spec.h"

namespace hull::blockcore {

// Bytes that only files of a format have at this place, counted from the beginning.
struct FormatMagic {
  size_t offset;
  std::string_view bytes;
};

// What images of a format have, for who refuses what they have not before anything is opened.
struct FormatAbilities {
  bool metadata = false;  // the file is more than the bytes of the disk (as it is for all but raw)
  bool backing = false;   // an image below it
  bool snapshots = false;
  bool bitmaps = false;
  bool compression = false;  // of what `convert -c` writes
  bool checks = false;
  bool amendment = false;
};

struct FormatDriver {
  // As qemu-img, libvirt and the headers of overlays call it.
  std::string_view name;
  // Absent: hull knows such an image when it sees one, and does not open it.
  std::optional<hull::DiskFormat> format = std::nullopt;
  FormatAbilities has = {};
  // One of them is enough; none: files of this format look like any other (raw).
  std::span<const FormatMagic> magics = {};
  // What the last 512 bytes begin with, of a format whose data comes first; empty: anything.
  std::string_view trailer_magic = {};
  // Whether the image with these first bytes (kProbeStartBytes of image/probe.h, fewer of a shorter
  // file) refers to other files, which a guest could have written; nullptr: none ever does.
  bool (*names_other_files)(std::string_view start) = nullptr;
};

}  // namespace hull::blockcore
