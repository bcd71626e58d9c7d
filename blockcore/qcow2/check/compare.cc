#include "blockcore/qcow2/check/compare.h"

#include <algorithm>
#include <cstring>

#include "base/endian.h"
#include "blockcore/qcow2/format/refcount_block.h"

namespace hull::blockcore::qcow2 {
namespace {

// Compares refcount blocks with the references that were counted, and corrects them.
class Comparer final : public TableVisitor {
 public:
  Comparer(const Geometry& geometry, const RefcountBlocks& blocks, References& references,
           CheckResult& result, CompareMode mode, Repair repair)
      : geometry_(geometry),
        blocks_(blocks),
        references_(references),
        result_(result),
        mode_(mode),
        repair_(repair) {}

  bool visit(size_t index, std::span<std::byte> block) override {
    const uint64_t first = blocks_.numbers[index] * geometry_.refcounts_per_block();
    missing_until(first);
    const uint64_t end = std::min(references_.clusters(), first + geometry_.refcounts_per_block());
    decode(block, first < end ? end - first : 0);
    bool changed = false;
    for (uint64_t cluster = first; cluster < end; ++cluster) {
      const uint64_t stored = stored_[cluster - first];
      if (stored == references_[cluster]) {
        if (stored != 0) end_cluster_ = cluster + 1;
      } else if (differ(cluster, stored)) {
        set_refcount(block.data(), geometry_.refcount_order, cluster - first, references_[cluster]);
        changed = true;
      }
    }
    position_ = std::max(position_, end);
    return changed;
  }

  // After the last block.
  void finish() {
    missing_until(references_.clusters());
    result_.image_end_offset = geometry_.offset_of(end_cluster_);
  }
  bool used_and_free() const { return used_and_free_; }

 private:
  void missing_until(uint64_t end) {
    end = std::min(end, references_.clusters());
    while (position_ < end) {
      position_ = references_.counts().next_counted(position_, end);
      if (position_ < end) (void)differ(position_++, 0);
    }
  }

  void decode(std::span<const std::byte> block, uint64_t count) {
    stored_.resize(count);
    if (geometry_.refcount_order == 4) {
      for (uint64_t i = 0; i < count; ++i) {
        Be16 raw;
        std::memcpy(&raw, block.data() + i * sizeof raw, sizeof raw);
        stored_[i] = raw;
      }
      return;
    }
    for (uint64_t i = 0; i < count; ++i)
      stored_[i] = get_refcount(block.data(), geometry_.refcount_order, i);
  }

  // True: the refcount is to be corrected.
  bool differ(uint64_t cluster, uint64_t stored) {
    const uint64_t used = references_[cluster];
    end_cluster_ = cluster + 1;
    if (mode_ == CompareMode::kKeep) {
      references_.set(cluster, clamp(std::max(stored, used)));
      return false;
    }
    if (stored == 0) used_and_free_ = true;
    const bool leak = stored > used;
    // Where not all references are known a count may be right that seems too high.
    const bool fix = mode_ == CompareMode::kRepair && used <= geometry_.max_refcount() &&
                     (leak ? !result_.findings.unfollowed : repair_ == Repair::kAll);
    std::string message = fmt::format("{} cluster {} refcount={} reference={}",
                                      fix    ? "Repairing"
                                      : leak ? "Leaked"
                                             : "ERROR",
                                      cluster, stored, used);
    if (fix) {
      result_.findings.note(std::move(message));
      ++(leak ? result_.leaks_fixed : result_.findings.corruptions_fixed);
      return true;
    }
    if (leak)
      ++result_.leaks, result_.findings.note(std::move(message));
    else
      result_.findings.corrupt(std::move(message));
    if (mode_ != CompareMode::kLook) references_.set(cluster, clamp(stored));
    return false;
  }

  static uint32_t clamp(uint64_t count) {
    return static_cast<uint32_t>(std::min<uint64_t>(count, ~uint32_t{0}));
  }

  const Geometry geometry_;
  const RefcountBlocks& blocks_;
  References& references_;
  CheckResult& result_;
  const CompareMode mode_;
  const Repair repair_;
  std::vector<uint64_t> stored_;
  uint64_t position_ = 0;  // clusters before it are done
  uint64_t end_cluster_ = 0;
  bool used_and_free_ = false;
};

}  // namespace

Task<Result<RefcountBlocks>> count_refcount_structures(File& file, const Header& header,
                                                       References& references, Findings& findings) {
  const Geometry& geometry = header.geometry;
  const auto placed = check_refcount_table(header, file.size_bytes());
  if (!placed) {
    findings.corrupt("ERROR " + placed.error().message());
    co_return RefcountBlocks{{}, {}, true};
  }
  const uint64_t table_bytes = geometry.offset_of(header.refcount_table_clusters);
  CO_TRY(const std::vector<uint64_t> table,
         co_await read_table(file, header.refcount_table_offset, table_bytes / 8));
  const bool inside =
      count_range(header.refcount_table_offset, table_bytes, geometry, references, findings);
  RefcountBlocks blocks;
  const auto complain = [&](std::string message) {
    findings.corrupt(std::move(message));
    blocks.broken = true;
  };
  for (uint64_t i = 0; inside && i < header.refcount_table_clusters; ++i)
    if (references[geometry.cluster_of(header.refcount_table_offset) + i] != 1) {
      complain("ERROR the refcount table is where something else is, too");
      break;
    }
  for (uint64_t i = 0; i < table.size(); ++i) {
    const uint64_t block = table[i] & kRefcountOffsetMask;
    if ((table[i] & ~kRefcountOffsetMask) != 0)
      complain(fmt::format("ERROR refcount table entry {} has reserved bits set", i));
    if (block == 0) continue;
    if (geometry.offset_in_cluster(block) != 0) {
      complain(fmt::format(
          "ERROR refcount block {} is not cluster aligned; refcount table entry corrupted", i));
    } else if (!references.inside(block, geometry.cluster_bytes())) {
      complain(fmt::format("ERROR refcount block {} is outside image", i));
    } else {
      const uint64_t cluster = geometry.cluster_of(block);
      references.add(cluster);
      if (references[cluster] != 1)
        complain(fmt::format("ERROR refcount block {} refcount={}", i, references[cluster]));
      blocks.numbers.push_back(i);
      blocks.offsets.push_back(block);
    }
  }
  co_return blocks;
}

Task<Result<bool>> compare_refcounts(File& file, const Geometry& geometry,
                                     const RefcountBlocks& blocks, References& references,
                                     CheckResult& result, CompareMode mode, Repair repair) {
  Comparer comparer(geometry, blocks, references, result, mode, repair);
  CO_TRY_VOID(co_await visit_tables(file, blocks.offsets, geometry.cluster_bytes(), comparer));
  comparer.finish();
  CO_TRY_VOID(references.check_counted());
  co_return comparer.used_and_free();
}

}  // namespace hull::blockcore::qcow2
