#include "tests/pairs/cells.h"

#include <fmt/core.h>

#include <algorithm>

namespace hull::pairs {

using testing::Qcow2Subject;
using testing::SubjectGeometry;
using Backing = SubjectGeometry::Backing;
using DataFile = SubjectGeometry::DataFile;

const char* name_of(Row row) {
  switch (row) {
    case Row::kGeometry: return "geometry";
    case Row::kEncryption: return "encryption";
    case Row::kCompression: return "compression";
    case Row::kDataFile: return "data-file";
    case Row::kSnapshot: return "snapshot";
    case Row::kBitmap: return "bitmap";
    case Row::kChain: return "chain";
    case Row::kDevice: return "device";
    case Row::kDirect: return "direct";
    case Row::kEngine: return "engine";
  }
  return "";
}

const char* name_of(Column column) {
  switch (column) {
    case Column::kCrash: return "crash";
    case Column::kNoSpace: return "no-space";
    case Column::kIoError: return "io-error";
    case Column::kLockWait: return "lock-wait";
    case Column::kNeighbour: return "neighbour";
    case Column::kHostLimit: return "host-limit";
    case Column::kStale: return "stale";
  }
  return "";
}

const char* impossible(Row row, Column column) {
  if (row != Row::kDevice) return nullptr;
  // The model's device is in memory.
  if (column == Column::kLockWait)
    return "what a lock protects is the size of the file, and a device's never changes";
  if (column == Column::kHostLimit)
    return "the limit of a file's size does not count for devices; threads are the engine's row";
  return nullptr;
}

namespace {

constexpr uint32_t kAllBits[] = {9, 10, 12, 12, 14, 16};
constexpr uint64_t kKiB = 1024;

// A few tables, and not so large that a run takes long.
uint64_t pick_size(uint32_t cluster_bits, std::mt19937& random) {
  const uint64_t most = cluster_bits <= 10 ? 120 : cluster_bits <= 14 ? 250 : 600;
  return (most / 3 + random() % (most * 2 / 3)) * kKiB + random() % 4 / 3 * 512;
}

SubjectGeometry any_geometry(std::mt19937& random) {
  SubjectGeometry geometry{.name = "pairs"};
  geometry.cluster_bits = kAllBits[random() % std::size(kAllBits)];
  geometry.version = random() % 4 == 0 ? 2 : 3;
  if (geometry.version == 3) {
    geometry.refcount_order = random() % 3 == 0 ? static_cast<uint32_t>(random() % 7) : 4;
    geometry.lazy_refcounts = random() % 6 == 0;
    geometry.extended_l2 = geometry.cluster_bits >= 14 && random() % 3 == 0;
  }
  geometry.size_bytes = pick_size(geometry.cluster_bits, random);
  geometry.backing = static_cast<Backing>(random() % 3);
  return geometry;
}

void make_version_3(SubjectGeometry& geometry) { geometry.version = 3; }

}  // namespace

SubjectGeometry pick_geometry(Row row, std::mt19937& random) {
  SubjectGeometry geometry = any_geometry(random);
  switch (row) {
    case Row::kGeometry: break;
    case Row::kEncryption:
      geometry.encrypted = true;
      geometry.size_bytes = std::min<uint64_t>(geometry.size_bytes, 300 * kKiB);
      break;
    case Row::kCompression:
      geometry.compressed_one_in = 2;
      geometry.zstd = geometry.version == 3 && random() % 2 == 0;
      break;
    case Row::kDataFile:
      make_version_3(geometry);
      geometry.data_file = random() % 3 == 0 ? DataFile::kRaw : DataFile::kPlain;
      if (geometry.data_file == DataFile::kRaw) geometry.backing = Backing::kNone;
      break;
    case Row::kBitmap: make_version_3(geometry); break;
    case Row::kChain: geometry.backing = random() % 2 == 0 ? Backing::kRaw : Backing::kQcow2; break;
    case Row::kDevice:
      geometry.size_bytes = std::min<uint64_t>(geometry.size_bytes, 200 * kKiB);
      geometry.device_bytes = 3 << 20;
      break;
    case Row::kSnapshot:
    case Row::kDirect:
    case Row::kEngine: break;
  }
  return geometry;
}

std::vector<std::string> acts_of(const Cell& cell) {
  const bool snapshots = cell.geometry.data_file == DataFile::kNone;
  std::vector<std::string> acts{"requests", "requests"};
  if (snapshots) acts.insert(acts.end(), {"beside create_snapshot", "beside delete_snapshot"});
  if (cell.geometry.backing != Backing::kNone) acts.emplace_back("beside stream");
  switch (cell.row) {
    // What becomes of the disk must not depend on which operation ends first.
    case Row::kDirect:
    case Row::kEngine: return acts;
    case Row::kSnapshot:
      acts = {"requests",        "create_snapshot",        "apply_snapshot",
              "delete_snapshot", "beside create_snapshot", "beside delete_snapshot"};
      return acts;
    case Row::kBitmap: return {"requests", "bitmaps", "bitmaps", "resize", "reopen", "commit"};
    case Row::kChain: return {"requests", "beside stream", "commit", "commit", "rebase", "resize"};
    default: break;
  }
  if (snapshots) acts.insert(acts.end(), {"create_snapshot", "apply_snapshot", "delete_snapshot"});
  acts.insert(acts.end(), {"resize", "amend", "commit", "rebase", "reopen"});
  if (cell.geometry.version == 3) acts.emplace_back("bitmaps");
  return acts;
}

std::string act(Qcow2Subject& subject, const std::string& name) {
  constexpr std::string_view kBeside = "beside ";
  if (name == "requests") return subject.trace(16, 5);
  if (!name.starts_with(kBeside)) return subject.change(name);
  // Streaming is for an image without snapshots.
  if (name == "beside stream" &&
      (!subject.state().snapshots.empty() || subject.disk().header().backing_name.empty()))
    return subject.trace(16, 5);
  return subject.trace_beside(name.substr(kBeside.size()), 16, 5);
}

std::string prepare(Qcow2Subject& subject, const Cell& cell, const std::string& name) {
  std::string trouble = subject.trace(8, 4);
  if (trouble.empty() && (cell.row == Row::kBitmap || name == "bitmaps"))
    trouble = subject.change("bitmaps");
  const bool wants_snapshot = cell.row == Row::kSnapshot || name == "beside delete_snapshot" ||
                              name.ends_with("y_snapshot") || name == "delete_snapshot";
  if (trouble.empty() && wants_snapshot && cell.geometry.data_file == DataFile::kNone)
    trouble = subject.change("create_snapshot");
  if (trouble.empty()) trouble = subject.trace(8, 4);
  return trouble.empty() ? subject.flush() : trouble;
}

namespace {

std::string describe(const SubjectGeometry& geometry) {
  return fmt::format(" [version {}, {} cluster bits, refcount order {}, {} bytes{}{}{}{}]",
                     geometry.version, geometry.cluster_bits, geometry.refcount_order,
                     geometry.size_bytes, geometry.extended_l2 ? ", extended" : "",
                     geometry.encrypted ? ", encrypted" : "",
                     geometry.backing == Backing::kNone  ? ""
                     : geometry.backing == Backing::kRaw ? ", on raw"
                                                         : ", on qcow2",
                     geometry.data_file == DataFile::kNone    ? ""
                     : geometry.data_file == DataFile::kPlain ? ", data file"
                                                              : ", raw data file");
}

std::string run_column(Cell& cell) {
  switch (cell.column) {
    case Column::kCrash: return run_crash(cell);
    case Column::kNoSpace: return run_no_space(cell);
    case Column::kIoError: return run_io_error(cell);
    case Column::kLockWait: return run_lock_wait(cell);
    case Column::kNeighbour: return run_neighbour(cell);
    case Column::kHostLimit: return run_host_limit(cell);
    case Column::kStale: return run_stale(cell);
  }
  return "";
}

}  // namespace

std::string run_cell(Row row, Column column, const CellOptions& options, CellCounts& counts) {
  const uint32_t which = static_cast<uint32_t>(row) * 16 + static_cast<uint32_t>(column);
  std::seed_seq sequence{options.seed, which};
  Cell cell{.row = row,
            .column = column,
            .options = options,
            .counts = counts,
            .random = std::mt19937(sequence),
            .geometry = {}};
  cell.geometry = pick_geometry(row, cell.random);
  ++counts.runs;
  const std::string trouble = run_column(cell);
  return trouble.empty() ? "" : trouble + describe(cell.geometry);
}

}  // namespace hull::pairs
