// The header of a qcow2 image and its extensions: docs/interop/qcow2, "Header", "Additional
// fields", "Header extensions". Pure functions over bytes: every field that a reader of the disk
// needs is checked here, before anything is allocated or read on its word. What writers need is
// checked by check_writable(), the place of the snapshot table by who reads it: damage there keeps
// nobody from reading the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "blockcore/qcow2/format/format.h"
#include "blockcore/qcow2/format/geometry.h"

namespace hull::blockcore::qcow2 {

struct HeaderExtension {
  uint32_t type = 0;
  std::vector<std::byte> data;
  bool operator==(const HeaderExtension&) const = default;
};

struct Header {
  uint32_t version = 3;
  Geometry geometry;
  uint64_t size_bytes = 0;  // of the guest's disk
  uint32_t l1_entries = 0;
  uint64_t l1_offset = 0;
  uint64_t refcount_table_offset = 0;
  uint32_t refcount_table_clusters = 0;
  uint32_t snapshot_count = 0;
  uint64_t snapshots_offset = 0;
  uint64_t incompatible = 0;  // kIncompatible… bits, all of them known
  uint64_t compatible = 0;
  uint64_t autoclear = 0;
  uint32_t encryption_method = 0;  // 0 none, 1 AES, 2 LUKS
  CompressionType compression = CompressionType::kZlib;
  std::string backing_name;                   // empty: none
  std::optional<std::string> backing_format;  // as the image says, not checked
  // In their order, without kExtensionBackingFormat; unknown ones are kept as they are.
  std::vector<HeaderExtension> extensions;
  // Bytes 112 to header_length: fields that hull does not know, kept as they are.
  std::vector<std::byte> unknown_fields;

  bool dirty() const { return (incompatible & kIncompatibleDirty) != 0; }
  bool corrupt() const { return (incompatible & kIncompatibleCorrupt) != 0; }
  bool lazy_refcounts() const { return (compatible & kCompatibleLazyRefcounts) != 0; }
  // Guest data is in a file of its own, at the guest's offsets.
  bool has_data_file() const { return (incompatible & kIncompatibleDataFile) != 0; }
  // That file alone reads as the guest's disk.
  bool data_file_is_raw() const { return has_data_file() && (autoclear & kAutoclearRawData) != 0; }
  // Its name as the image has it; empty if the image does not say.
  std::string data_file_name() const;
  void set_data_file_name(std::string_view name);
  // Bit 0 of an L2 entry means something.
  bool has_zero_flag() const { return version >= 3 && !geometry.extended_l2; }
  // nullptr: none of this type.
  const HeaderExtension* find_extension(uint32_t type) const;
};

// `area` starts at byte 0 of the file and should hold the first cluster; a shorter one may do. An
// error of kOutOfRange means that `area` is too short: read header_area_bytes() and try again.
Result<Header> decode_header(std::span<const std::byte> area);

// How much to read for decode_header(): one cluster, once the first bytes tell its size.
inline constexpr size_t kFirstHeaderRead = 4096;
size_t header_area_bytes(std::span<const std::byte> first_bytes);

// The refcount table has a size and a place that it can have, inside the file (rounded up to a
// cluster).
Result<void> check_refcount_table(const Header& header, uint64_t file_bytes);
// And so has the L1 table.
Result<void> check_writable(const Header& header, uint64_t file_bytes);

// hull reads the image's metadata but not its guest data without these; an error that names the
// feature if the image has one that hull does not do.
Result<void> check_supported(const Header& header);

// The header, its extensions and the backing name as they begin an image; kOutOfRange if they do
// not fit into a cluster. Adds the feature name table that QEMU adds, where all is then no longer
// than `named_bytes` and a cluster. The name follows the extensions, from `name_offset` on.
Result<std::vector<std::byte>> encode_header(const Header& header,
                                             uint64_t named_bytes = ~uint64_t{0},
                                             uint64_t name_offset = 0);

// Where in the first cluster things lie, in bytes. Of an area that decode_header() takes.
struct HeaderPlaces {
  uint64_t extensions_end = 0;
  uint64_t name_begin = 0;  // both 0: there is no backing name
  uint64_t name_end = 0;

  bool holds(uint64_t at) const {
    return at < extensions_end || (at >= name_begin && at < name_end);
  }
};
HeaderPlaces header_places(std::span<const std::byte> area);

}  // namespace hull::blockcore::qcow2
