// Files that `hull run` gets without an option: a domain document or images.
//
// Here, and for --hda, the format of an image is what its first bytes say, as nobody wants to type
// what the file knows. A guest can write such bytes: a raw image whose guest has made it look like
// a qcow2 image with a backing file would give the next guest any file of the host. Hence an image
// that names other files is taken for qcow2 only if its own name ends in .qcow2; otherwise the
// format must be said (--disk FILE,format=…). One that names none harms nobody but its guest.
#pragma once

#include <string>

#include "base/result.h"
#include "config/domain.h"

namespace hull::cli {

// Whether `path` is to be read as a domain document: anything whose first character is '<', and
// what cannot be looked at without being read (a pipe, "-").
Result<bool> is_document(const std::string& path);

// File, format and whether it is a CD-ROM (by its name: *.iso). kUnsupported for an image in a
// format that hull does not open, kUsage where the format must be said.
Result<config::DiskConfig> disk_of_image(const std::string& path);

// An Error unless a BIOS could start from it; of qcow2 images that is not known.
Result<void> check_boot_sector(const config::DiskConfig& disk);

}  // namespace hull::cli
