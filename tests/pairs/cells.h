// Faults lie where two things meet. A table of pairs: what an image is and has (rows) against what
// happens to it (columns). Every cell that can exist is run by the model of qcow2_subject.h.
//
//   CellCounts counts;
//   run_cell(kRows[i], kColumns[j], {.seed = 17}, counts);   // "" or what went wrong
//
// A seed makes the same run again, except where an engine of the host decides which of several
// operations ends first (rows O_DIRECT and engine, columns lock wait and host limit).
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/support/qcow2_subject.h"

namespace hull::pairs {

enum class Row : uint8_t {
  kGeometry,
  kEncryption,
  kCompression,
  kDataFile,
  kSnapshot,
  kBitmap,
  kChain,
  kDevice,
  kDirect,
  kEngine,
};
inline constexpr Row kRows[] = {Row::kGeometry, Row::kEncryption, Row::kCompression, Row::kDataFile,
                                Row::kSnapshot, Row::kBitmap,     Row::kChain,       Row::kDevice,
                                Row::kDirect,   Row::kEngine};

enum class Column : uint8_t {
  kCrash,      // lost, reordered and torn writes
  kNoSpace,    // at each allocation
  kIoError,    // at each operation
  kLockWait,   // another program has the image, changes it, and lets it go
  kNeighbour,  // requests side by side in a few clusters, and changes beside them
  kHostLimit,  // file size, threads
  kStale,      // whatever nobody uses is full of noise
};
inline constexpr Column kColumns[] = {Column::kCrash,    Column::kNoSpace,   Column::kIoError,
                                      Column::kLockWait, Column::kNeighbour, Column::kHostLimit,
                                      Column::kStale};

const char* name_of(Row row);
const char* name_of(Column column);
// Why a cell cannot exist; null: it does.
const char* impossible(Row row, Column column);

struct CellOptions {
  unsigned seed = 1;
  // How much of what could fail does, and how many moments of crashes are looked at: 1 is a few of
  // them, for everyday runs; 4 and more nearly all.
  unsigned effort = 1;
};

struct CellCounts {
  uint64_t runs = 0;
  uint64_t crash_states = 0;  // opened, repaired, read and judged
  uint64_t faults = 0;        // that hit something
};

// Returns what went wrong, with the part of the run in which it did.
std::string run_cell(Row row, Column column, const CellOptions& options, CellCounts& counts);

// ---- For the columns.

struct Cell {
  Row row;
  Column column;
  const CellOptions& options;
  CellCounts& counts;
  std::mt19937 random;  // of what the cell is; a subject gets one of its own
  testing::SubjectGeometry geometry;

  uint64_t below(uint64_t limit) { return random() % limit; }
  bool has_real_files() const { return row == Row::kDirect || row == Row::kEngine; }
};

// A geometry that has what the row is about, at random in the rest.
testing::SubjectGeometry pick_geometry(Row row, std::mt19937& random);
// What a row does to an image: "requests", "beside NAME" (trace_beside), or a change's name.
std::vector<std::string> acts_of(const Cell& cell);
std::string act(testing::Qcow2Subject& subject, const std::string& name);
// Data, a snapshot or bitmaps, as the row or the act needs them, all flushed.
std::string prepare(testing::Qcow2Subject& subject, const Cell& cell, const std::string& name);

std::string run_crash(Cell& cell);
std::string run_no_space(Cell& cell);
std::string run_io_error(Cell& cell);
std::string run_lock_wait(Cell& cell);
std::string run_neighbour(Cell& cell);
std::string run_host_limit(Cell& cell);
std::string run_stale(Cell& cell);

// Crashes at moments of what `plan` has recorded since `start`.
std::string judge_crashes(Cell& cell, const testing::FaultPlan& plan,
                          const testing::SubjectFiles& start, const testing::SubjectState& before,
                          const testing::SubjectState& after);

}  // namespace hull::pairs
