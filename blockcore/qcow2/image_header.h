// The header of an open image and its in-place updates: one sector, written whole, then flushed.
#pragma once

#include <array>
#include <cstddef>

#include "blockcore/file.h"
#include "blockcore/qcow2/header.h"

namespace hull::blockcore::qcow2 {

class ImageHeader {
 public:
  // Reads and checks the header (decode_header, check_against_file).
  static Task<Result<ImageHeader>> read(File& file);

  const Header& operator*() const { return header_; }
  const Header* operator->() const { return &header_; }

  // Each is durable when it returns; nothing is changed on failure, though the file may be.
  Task<Result<void>> set_refcount_table(File& file, uint64_t offset, uint32_t clusters,
                                        bool clear_dirty = false);
  Task<Result<void>> set_features(File& file, uint64_t incompatible, uint64_t autoclear);

 private:
  Task<Result<void>> write(File& file, const Header& changed);

  Header header_;
  std::array<std::byte, kHeaderSectorBytes> sector_{};
};

}  // namespace hull::blockcore::qcow2
