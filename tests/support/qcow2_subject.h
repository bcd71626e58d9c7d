// A qcow2 image with everything around it (backing file, data file) and a flat model of what it
// must read as: its disk, its snapshots, its bitmaps. Random operations change both.
//
// All files are in memory. With a FaultPlan their operations are recorded and can fail
// (faulty_file.h), those of all files in one log.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "blockcore/qcow2/edit/bitmap_store.h"
#include "blockcore/qcow2/qcow2_disk.h"
#include "tests/support/disk_trace.h"
#include "tests/support/faulty_file.h"
#include "tests/support/qcow2_images.h"

namespace hull::testing {

struct SubjectGeometry {
  const char* name = "";
  uint32_t version = 3;
  uint32_t cluster_bits = 16;
  uint32_t refcount_order = 4;
  uint64_t size_bytes = 1 << 20;
  enum class Backing : uint8_t { kNone, kRaw, kQcow2 } backing = Backing::kNone;
  bool extended_l2 = false;
  bool lazy_refcounts = false;
  bool zstd = false;
  enum class DataFile : uint8_t { kNone, kPlain, kRaw } data_file = DataFile::kNone;
  bool encrypted = false;
  // Not 0: the image is on a block device of that size, which was in use before.
  uint64_t device_bytes = 0;
  // One in so many of a guest's writes goes to a compressed cluster, where there are any.
  unsigned compressed_one_in = 5;
};
void PrintTo(const SubjectGeometry& geometry, std::ostream* out);

// The files of a subject, by these indices.
enum SubjectFile : unsigned { kImageFile, kDataFile, kBaseFile, kOtherFile, kSubjectFiles };
using SubjectFiles = std::array<Bytes, kSubjectFiles>;

struct BitmapModel {
  uint32_t granularity_bits = 16;
  bool enabled = true;
  std::vector<bool> bits = {};
  bool operator==(const BitmapModel&) const = default;
};

// What an image holds.
struct SubjectState {
  Bytes disk;
  std::map<std::string, Bytes> snapshots;  // by their ids
  std::map<std::string, BitmapModel> bitmaps;
  // Not empty: bytes of the disk that are not 0 here were written meanwhile and not flushed.
  Bytes loose = {};
};

// Where the files are, if not in memory.
class SubjectHost {
 public:
  virtual ~SubjectHost() = default;
  // A file that holds `contents`.
  virtual Result<std::unique_ptr<blockcore::File>> open(unsigned index, const Bytes& contents) = 0;
  virtual Bytes contents(unsigned index) const = 0;
  virtual void run() = 0;  // until nothing is in flight
};

// An open image over `files`; what its header says about a backing file is done.
struct OpenSubject {
  std::unique_ptr<blockcore::Qcow2Disk> disk;
  std::array<bool, kSubjectFiles> opened{};
  std::array<MemoryFile*, kSubjectFiles> memory{};  // of those that are opened; without a host
};

class Qcow2Subject {
 public:
  Qcow2Subject(const SubjectGeometry& geometry, std::mt19937& random, FaultPlan* plan = nullptr,
               SubjectHost* host = nullptr);

  // `count` operations of a guest, `depth` of them in flight. Everything below returns what is
  // wrong, "" if nothing is.
  std::string trace(unsigned count, unsigned depth);
  // From now on all that a guest changes is small and lies side by side.
  void crowd() { crowded_ = true; }
  // The same while a snapshot is made or deleted, or the backing file streamed ("stream"), in small
  // steps.
  std::string trace_beside(const std::string& name, unsigned count, unsigned depth);
  // One operation on the image as a whole, by its name; names() lists those that the geometry has.
  // What cannot be done now (no snapshot to delete, say) does nothing.
  std::string change(const std::string& name);
  std::vector<std::string> names() const;
  // The disk equals the model; after close(): bitmaps as well, and check finds nothing.
  std::string verify();
  std::string close();
  std::string reopen();
  std::string flush();
  // All that there is, as qemu-img sees it. Closed.
  std::string ask_qemu() const;
  // Each snapshot, applied to a copy. Closed.
  std::string verify_snapshots();

  const SubjectState& state() const { return state_; }
  // What the last trace() or trace_beside() was to lead to, were it successful or not.
  const SubjectState& wanted() const { return wanted_; }
  const SubjectFiles& files() const { return files_; }  // as they were opened, or closed
  SubjectFiles& closed_files() { return files_; }       // closed: what reopen() will find
  // As they are now.
  SubjectFiles current_files() const;
  const SubjectGeometry& geometry() const { return geometry_; }
  // What the last operation gave, if it failed and failures are allowed.
  void allow_failures() { failures_allowed_ = true; }
  bool failed() const { return failed_; }
  // Not after the failure of a change that works on a closed image.
  bool is_open() const { return open_.disk != nullptr; }
  blockcore::Qcow2Disk& disk() { return *open_.disk; }
  // After failures: the files as they are, without closing.
  SubjectFiles abandon();

 private:
  template <class T>
  Result<T> run(blockcore::Task<Result<T>> task);
  std::string done(const std::string& what, const Result<void>& result);
  void touch(const Bytes& touched);
  uint64_t below(uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }

  void prepare(DiskTrace& trace);
  void keep_outcome(DiskTrace& trace);
  struct Beside;
  std::string judge(Beside& beside);
  std::string stream_beside(unsigned count, unsigned depth);
  std::string create_snapshot();
  std::string apply_snapshot();
  std::string delete_snapshot();
  std::string resize();
  std::string commit();
  std::string rebase();
  std::string amend();
  std::string change_bitmaps();
  std::string verify_bitmaps();
  std::string verify_raw_file() const;

  const SubjectGeometry geometry_;
  std::mt19937& random_;
  FaultPlan* const plan_;
  SubjectHost* const host_;
  ShuffleQueue queue_;
  SubjectFiles files_;
  OpenSubject open_;
  SubjectState state_;
  SubjectState wanted_;
  bool failures_allowed_ = false;
  bool failed_ = false;
  bool crowded_ = false;
  bool rebased_ = false;  // what was copied up may be marked as written, or not
};

// Runs a task over files whose operations wait in `queue`, in their order.
template <class T>
T run_queue(ShuffleQueue& queue, blockcore::Task<T> task) {
  std::optional<T> result;
  blockcore::start_detached(
      [](blockcore::Task<T> inner, std::optional<T>& out) -> blockcore::Task<void> {
        out.emplace(co_await inner);
      }(std::move(task), result));
  while (!queue.empty()) queue.resume(0);
  CHECK(result.has_value());
  return *std::move(result);
}

Result<OpenSubject> open_subject(const SubjectGeometry& geometry, const SubjectFiles& files,
                                 ShuffleQueue& queue, FaultPlan* plan, SubjectHost* host = nullptr);
// What is wrong with the files that a crash or a failure in the midst of a change has left: they
// must open and hold what was there before the change or what is there after it, and go on to do so
// when the disk is written to; "" if nothing is wrong.
std::string judge_survivor(const SubjectGeometry& geometry, const SubjectFiles& files,
                           const SubjectState& before, const SubjectState& after);
// What check finds; leaks, and what else a crash may leave, count if they are not allowed.
std::string trouble_in_image(const Bytes& image, bool leaks_allowed);
void fill_random(std::mt19937& random, std::span<uint8_t> bytes);

}  // namespace hull::testing
