// Keeps the image's structures from being written over each other, whatever a damaged image says:
// each write of metadata, each write of guest data and each allocation is held against the places
// of all structures that are known without reading: the header, the active L1 and L2 tables, the
// refcount table and its blocks, the snapshot table and the L1 tables of snapshots, the directory
// and the tables of bitmaps, the LUKS header. L2 tables of snapshots and the bitmaps' own data are
// not looked at, as in QEMU's default.
//
// A violation marks the image corrupt (docs/interop/qcow2, incompatible feature bit 1), durably
// where the version has the bit; from then on everything that would write is refused. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "blockcore/file/file.h"
#include "blockcore/qcow2/alloc/host_run.h"
#include "blockcore/qcow2/format/image_header.h"
#include "blockcore/qcow2/mapping/host_table.h"

namespace hull::blockcore::qcow2 {

enum class Structure : uint8_t {
  kGuestData,  // or anything else that has just been allocated
  kHeader,
  kActiveL1,
  kActiveL2,
  kRefcountTable,
  kRefcountBlock,
  kSnapshots,   // their table, and their L1 tables
  kBitmaps,     // their directory, and their tables
  kEncryption,  // LUKS header and key material
};
std::string_view structure_name(Structure structure);

class OverlapGuard {
 public:
  // Both outlive the guard, as do the tables.
  OverlapGuard(File& file, ImageHeader& header) : file_(file), header_(header) {}
  void attach(const HostTable& l1, const HostTable& refcount_table) {
    l1_ = &l1;
    refcount_table_ = &refcount_table;
  }
  // Where snapshots, bitmaps and encryption have theirs: before the first write, and after each
  // change of them, before what they no longer use is freed.
  Task<Result<void>> read_places();

  // What a write of `own` at host [offset, offset + bytes) (not empty) would hit.
  std::optional<Structure> find(uint64_t offset, uint64_t bytes, Structure own) const;
  // The same as an error, kCorrupt, after marking the image.
  Task<Result<void>> check(uint64_t offset, uint64_t bytes, Structure own);

  // Something that the image says cannot be true: marks it, logs `error` and returns it.
  Task<Error> mark_corrupt(Error error);
  bool corrupt() const { return corrupt_; }
  // What an operation that would write gets when the image has been marked.
  std::unexpected<Error> refusal() const;

 private:
  std::optional<Structure> find_in_tables(uint64_t offset, uint64_t bytes, Structure own) const;
  std::optional<Structure> find_in_places(uint64_t offset, uint64_t bytes) const;

  struct Place {
    uint64_t begin;
    uint64_t end;
    Structure structure;
  };
  Task<Result<void>> add_snapshots(std::vector<Place>& places);
  Task<Result<void>> add_bitmaps(std::vector<Place>& places);
  File& file_;
  ImageHeader& header_;
  const HostTable* l1_ = nullptr;
  const HostTable* refcount_table_ = nullptr;
  std::vector<Place> places_;  // sorted, disjoint
  bool corrupt_ = false;
};

}  // namespace hull::blockcore::qcow2
