// What a range of a disk is made of, as `qemu-img map` and NBD's base:allocation report it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace hull::blockcore {

class File;

// The beginning of a range, as far as it is alike. `data` and `zero` are independent: allocated
// clusters that are holes in the file are both.
struct BlockStatus {
  uint64_t length = 0;      // bytes, never 0; a neighbour may be alike all the same
  bool data = false;        // some layer stores bytes for it, so that it has to be read
  bool zero = false;        // known to read as zeros
  bool present = false;     // some layer of the chain has an entry for it: it is not just unwritten
  bool compressed = false;  // data in compressed clusters
  uint32_t depth = 0;       // of the layer that decides: 0 the disk itself, 1 its backing disk, …
  // Where byte 0 of the range lies in the file `path`, if it is stored as it is.
  std::optional<uint64_t> host_offset = std::nullopt;
  std::string_view path = {};  // valid while the disk is open; empty without host_offset
  const File* file = nullptr;  // the same; null where others hold it

  // The same but for length and the exact place.
  bool is_like(const BlockStatus& other) const {
    return data == other.data && zero == other.zero && present == other.present &&
           compressed == other.compressed && depth == other.depth && path == other.path &&
           host_offset.has_value() == other.host_offset.has_value();
  }
};

}  // namespace hull::blockcore
