// Writes guest data: in place where the host cluster belongs to nobody else, into new clusters
// elsewhere (copy on write).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blockcore/qcow2/data/reader.h"
#include "blockcore/qcow2/image.h"

namespace hull::blockcore::qcow2 {

class Writer {
 public:
  Writer(Image& image, Reader& reader) : image_(image), reader_(reader) {}

  // Inside the disk (Disk::write).
  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers);

 private:
  // Guest data on its way into host clusters that nothing refers to yet.
  struct Placement {
    uint64_t offset = 0;  // guest
    uint64_t length = 0;
    uint64_t first_cluster = 0;  // guest
    HostRun host;
    bool fresh = false;     // what is not written in the host clusters reads as zeros
    bool kept = false;      // they were the guest clusters' own, but not their data
    bool old_zero = false;  // what [begin, end) held before is zeros
    // Guest bytes that have data in the host clusters afterwards: what is written and, around it,
    // what must be copied.
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  uint64_t start_pieces(uint64_t offset, std::span<const iovec> buffers, uint64_t done,
                        std::vector<Task<Result<void>>>& pieces);
  Task<Result<void>> write_range(uint64_t offset, std::span<const iovec> list, uint64_t done,
                                 uint64_t length);
  Task<Result<void>> write_in_place(const Extent& extent, std::span<const iovec> buffers);
  Task<Result<uint64_t>> write_new(uint64_t offset, const Extent& extent,
                                   std::span<const iovec> buffers, uint64_t done);
  Task<Result<void>> place(Placement& placement, const Extent& extent);
  Task<Result<void>> find_bounds(Placement& placement);
  Task<Result<void>> fill(const Placement& placement, std::span<const iovec> data);
  Task<Result<void>> read_around(const Placement& placement, std::span<std::byte> head,
                                 std::span<std::byte> tail);
  Task<Result<void>> publish(const Placement& placement);
  L2Entry filled_entry(const Placement& placement, uint64_t cluster);
  bool hits_metadata(const Extent& extent, uint64_t length) const;
  bool reads_as_zero(const Extent& extent, uint64_t offset) const;

  Image& image_;
  Reader& reader_;
};

}  // namespace hull::blockcore::qcow2
