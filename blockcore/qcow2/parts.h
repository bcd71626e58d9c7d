// One open qcow2 image with all its operations: what is behind a Qcow2Disk. For the operations that
// are not a guest's (snapshots, bitmaps, resizing, changes of the header), which live beside this
// file and run while the disk does nothing else, unless their headers say otherwise.
#pragma once

#include <memory>
#include <utility>

#include "blockcore/qcow2/alloc/committer.h"
#include "blockcore/qcow2/data/packer.h"
#include "blockcore/qcow2/data/reader.h"
#include "blockcore/qcow2/data/writer.h"
#include "blockcore/qcow2/data/zeroer.h"
#include "blockcore/qcow2/image.h"

namespace hull::blockcore::qcow2 {

struct Parts {
  Parts(std::unique_ptr<File> file, ImageHeader header, const CacheSizes& caches)
      : image(std::move(file), std::move(header), caches) {}

  Image image;
  Reader reader{image};
  Writer writer{image, reader};
  Packer packer{image};
  Committer committer{image, reader};
  Zeroer zeroer{image, writer, committer};
  AsyncMutex clearing;  // the autoclear bits
  AsyncMutex editing;   // held by whoever closes the gate, for as long as his operation lasts
};

}  // namespace hull::blockcore::qcow2
