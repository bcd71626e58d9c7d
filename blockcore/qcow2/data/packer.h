// Writes clusters that are compressed already: one stream behind the other, across the borders of
// host clusters, each of which is counted once for every stream that touches it.
#pragma once

#include <span>
#include <vector>

#include "blockcore/qcow2/data/compressor.h"
#include "blockcore/qcow2/image.h"

namespace hull::blockcore::qcow2 {

class Packer {
 public:
  explicit Packer(Image& image) : image_(image) {}

  // Each replaces a whole guest cluster; ascending, no two alike. Calls are served one by one, and
  // their order decides where the streams lie.
  Task<Result<void>> write(std::span<const CompressedCluster> clusters);

 private:
  struct Placed {
    uint64_t guest_cluster;
    uint64_t host_offset;
    std::span<const std::byte> stream;
  };
  Task<Result<void>> place(std::span<const CompressedCluster> clusters,
                           std::vector<Placed>& placed);
  Task<Result<void>> fill(const std::vector<Placed>& placed);
  Task<Result<void>> publish(std::vector<Placed>& placed);
  Task<void> give_back(const std::vector<Placed>& placed);
  uint64_t entry_value(const Placed& placed) const;

  Image& image_;
  AsyncMutex writing_;
};

}  // namespace hull::blockcore::qcow2
