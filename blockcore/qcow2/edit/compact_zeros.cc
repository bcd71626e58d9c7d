// drop_zeros() of compact.h.
#include <algorithm>
#include <span>
#include <vector>

#include "blockcore/engine/iovecs.h"
#include "blockcore/qcow2/edit/compact.h"
#include "blockcore/qcow2/mapping/own_tables.h"

namespace hull::blockcore::qcow2 {
namespace {

// The whole host cluster is the guest cluster's, or nothing of it is.
bool is_whole(L2Entry entry, const Geometry& geometry) {
  return !geometry.extended_l2 || entry.allocated() == kAllSubclusters || entry.allocated() == 0;
}

// Gives back clusters whose data is zeros.
class ZeroDropper final : public OwnClusterWork {
 public:
  ZeroDropper(Parts& parts, CompactCounts& counts)
      : image_(parts.image),
        geometry_(parts.image.geometry),
        counts_(counts),
        memory_(own_transfer_bytes(geometry_)) {}

  Task<Result<uint64_t>> run(uint64_t cluster, uint64_t most) override {
    const L2Entry first = image_.map.entry(cluster);
    if (!first.writable() || first.compressed() || !is_whole(first, geometry_))
      co_return uint64_t{1};
    if (reads_as_zero(first)) {
      image_.map.set_entry(cluster, zero_entry());
      ++counts_.zeros;
      co_return uint64_t{1};
    }
    if (!holds_data(first)) co_return uint64_t{1};
    most = std::min(most, memory_.size() >> geometry_.cluster_bits);
    const uint64_t row = count_row(image_, cluster, most, [this](L2Entry entry) {
      return entry.writable() && is_whole(entry, geometry_) && holds_data(entry);
    });
    const iovec buffer{memory_.data(), geometry_.offset_of(row)};
    CO_TRY_VOID(co_await image_.data().read_or_zero(first.host_offset(), {&buffer, 1}));
    for (uint64_t i = 0; i < row; ++i) {
      if (!is_zero(std::span(memory_).subspan(geometry_.offset_of(i), geometry_.cluster_bytes())))
        continue;
      while (!image_.map.is_ready(cluster + i))
        CO_TRY_VOID(co_await image_.map.make_ready(cluster + i));
      image_.map.set_entry(cluster + i, zero_entry());
      ++counts_.zeros;
    }
    co_return row;
  }

 private:
  bool reads_as_zero(L2Entry entry) const {
    if (geometry_.extended_l2) return entry.zeros() == kAllSubclusters;
    return entry.kind() == ClusterKind::kZero;
  }
  bool holds_data(L2Entry entry) const {
    if (geometry_.extended_l2) return entry.allocated() == kAllSubclusters;
    return entry.kind() == ClusterKind::kNormal;
  }
  L2Entry zero_entry() const {
    if (geometry_.extended_l2)
      return {.value = 0, .bitmap = L2Entry::make_bitmap(0, kAllSubclusters)};
    return {.value = image_.header->has_zero_flag() ? kZeroFlag : 0, .bitmap = 0};
  }

  Image& image_;
  const Geometry geometry_;
  CompactCounts& counts_;
  std::vector<std::byte> memory_;
};

}  // namespace

Task<Result<void>> drop_zeros(Parts& parts, CompactCounts& counts, const ProgressReport& progress) {
  const Image& image = parts.image;
  const bool can_say = image.geometry.extended_l2 || image.header->has_zero_flag() ||
                       image.header->backing_name.empty();
  if (!can_say) co_return co_await parts.committer.commit_all();
  ZeroDropper dropper(parts, counts);
  co_return co_await for_each_own_cluster(parts, dropper, progress);
}

}  // namespace hull::blockcore::qcow2
