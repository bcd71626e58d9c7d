// The header of an open image and its updates. What the header will point at is durable before an
// update begins; the update is durable when it returns.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "blockcore/async/async_mutex.h"
#include "blockcore/file/file.h"
#include "blockcore/qcow2/format/header.h"
#include "blockcore/qcow2/format/snapshot_table.h"

namespace hull::blockcore::qcow2 {

class ImageHeader {
 public:
  // Reads and checks the header (decode_header).
  static Task<Result<ImageHeader>> read(File& file);

  const Header& operator*() const { return header_; }
  const Header* operator->() const { return &header_; }

  // Makes the header what `changed` says: copy *this, change it, pass it, without a wait between.
  // Several may be in flight: each changes what it changed in its copy. One write and one flush
  // of the first sector, which is never torn; what lies behind it (long names, many extensions) is
  // written before it. The table of feature names goes if that spares it. Nothing is changed on
  // failure, though the file may be. kOutOfRange if the area would not fit into the first cluster,
  // or not beside the old one, which holds until the sector is written. The size of clusters and
  // the kind of L2 entries stay.
  Task<Result<void>> update(File& file, Header changed);

  // In memory alone, for a disk that is only read: the mapping of a snapshot in place of the active
  // one.
  void show(const Snapshot& snapshot) {
    header_.size_bytes = snapshot.disk_bytes;
    header_.l1_offset = snapshot.l1_offset;
    header_.l1_entries = snapshot.l1_entries;
  }

  // update() of what belongs together.
  Task<Result<void>> set_refcount_table(File& file, uint64_t offset, uint32_t clusters);
  Task<Result<void>> set_features(File& file, uint64_t incompatible, uint64_t autoclear);
  // With another size the image's bitmaps are no longer valid.
  Task<Result<void>> set_mapping(File& file, uint64_t size_bytes, uint64_t l1_offset,
                                 uint32_t l1_entries);
  Task<Result<void>> set_snapshots(File& file, uint64_t offset, uint32_t count);
  // Empty `name`: no backing file. Absent `format`: the image does not say.
  Task<Result<void>> set_backing(File& file, std::string name, std::optional<std::string> format);

 private:
  Task<Result<void>> write_fields(File& file, const Header& changed);
  Task<Result<void>> write_area(File& file, const Header& changed);

  std::unique_ptr<AsyncMutex> updating_ = std::make_unique<AsyncMutex>();
  Header header_;
  std::array<std::byte, kHeaderSectorBytes> sector_{};
};

// Puts an extension into `header` (in the place of one of its type), or takes it away: empty
// `data`.
void set_extension(Header& header, uint32_t type, std::vector<std::byte> data);

}  // namespace hull::blockcore::qcow2
