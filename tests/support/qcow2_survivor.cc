#include <algorithm>

#include "blockcore/qcow2/edit/snapshots.h"
#include "tests/support/qcow2_subject.h"

namespace hull::testing {
namespace {

using namespace blockcore;

// Reads as one of them; of a disk that was to get another size, what both have counts.
bool reads_as(const Bytes& disk, const SubjectState& state, const SubjectState& other) {
  if (disk.size() != state.disk.size()) return false;
  const size_t common = std::min(state.disk.size(), other.disk.size());
  // What was to be cut off may be gone already.
  const size_t compared = state.disk.size() > other.disk.size() ? common : disk.size();
  const Bytes& loose = state.loose.empty() ? other.loose : state.loose;
  for (size_t i = 0; i < compared; ++i)
    if (disk[i] != state.disk[i] && (i >= loose.size() || loose[i] == 0)) return false;
  return true;
}

bool has_snapshots(const std::vector<qcow2::Snapshot>& list, const SubjectState& state) {
  return list.size() == state.snapshots.size() && std::ranges::all_of(list, [&](const auto& one) {
           return state.snapshots.contains(one.id);
         });
}

// A bitmap either says that it knows nothing, or has what it had before or after the change.
std::string judge_bitmaps(const Bytes& image, const SubjectState& before,
                          const SubjectState& after) {
  MemoryFile file(image);
  const auto header = run_now(qcow2::ImageHeader::read(file));
  if (!header) return header.error().message();
  const auto directory = run_now(qcow2::read_bitmap_directory(file, **header));
  if (!directory) return directory.error().message();
  for (const qcow2::Bitmap& bitmap : directory->bitmaps) {
    if (bitmap.in_use) continue;
    const auto bits = run_now(qcow2::load_bits(file, **header, bitmap));
    if (!bits) return bits.error().message();
    const auto has = [&](const SubjectState& state) {
      const auto model = state.bitmaps.find(bitmap.name);
      if (model == state.bitmaps.end()) return false;
      // Of a disk that has become smaller there are fewer.
      const auto is_set = [&](size_t i) {
        return i / 8 < bits->size() && ((*bits)[i / 8] >> (i % 8) & std::byte{1}) != std::byte{0};
      };
      for (size_t i = 0; i < model->second.bits.size(); ++i)
        if (model->second.bits[i] && !is_set(i)) return false;
      return true;
    };
    if (!has(before) && !has(after)) return "bitmap " + bitmap.name + " lies";
  }
  return "";
}

// Nothing that a snapshot has may be written in place.
std::string judge_snapshots(OpenSubject& subject, ShuffleQueue& queue,
                            const std::vector<qcow2::Snapshot>& list, const SubjectState& state) {
  Bytes noise(std::min<uint64_t>(subject.disk->size_bytes(), 50000), 0xa5);
  const iovec buffer{noise.data(), noise.size()};
  const auto written = run_queue(queue, subject.disk->write(0, {&buffer, 1}));
  if (!written) return "write: " + written.error().message();
  for (size_t i = 0; i < list.size(); ++i) {
    const auto applied = run_queue(queue, qcow2::apply_snapshot(subject.disk->parts(), i));
    if (!applied) {
      // Narrow refcounts hold few references; those that a crash has leaked come on top.
      if (applied.error().message().contains("the largest that refcounts")) continue;
      return "apply: " + applied.error().message();
    }
    const Bytes& model = state.snapshots.at(list[i].id);
    Bytes data(subject.disk->size_bytes(), 0xee);
    const iovec into{data.data(), data.size()};
    const auto read = run_queue(queue, subject.disk->read(0, {&into, 1}));
    if (!read) return "read: " + read.error().message();
    if (data != model) return "snapshot " + list[i].id + " reads otherwise";
  }
  return "";
}

}  // namespace

std::string judge_survivor(const SubjectGeometry& geometry, const SubjectFiles& files,
                           const SubjectState& before, const SubjectState& after) {
  if (std::string trouble = judge_bitmaps(files[kImageFile], before, after); !trouble.empty())
    return trouble;
  ShuffleQueue queue;
  auto opened = open_subject(geometry, files, queue, nullptr);
  if (!opened) return "open: " + opened.error().message();
  Qcow2Disk& disk = *opened->disk;
  Bytes data(disk.size_bytes(), 0xee);
  const iovec buffer{data.data(), data.size()};
  if (auto read = run_queue(queue, disk.read(0, {&buffer, 1})); !read)
    return "read: " + read.error().message();
  if (!reads_as(data, before, after) && !reads_as(data, after, before))
    return "the disk reads as neither before nor after";
  // Opening has repaired what the dirty bit covers.
  if (std::string trouble = trouble_in_image(opened->memory[kImageFile]->bytes(), true);
      !trouble.empty())
    return trouble;
  const auto list = run_queue(queue, qcow2::list_snapshots(disk.parts()));
  if (!list) return "list: " + list.error().message();
  const bool is_old = has_snapshots(*list, before);
  if (!is_old && !has_snapshots(*list, after)) return "the snapshots are neither old nor new";
  if (!before.bitmaps.empty() || !after.bitmaps.empty() || list->empty()) return "";
  return judge_snapshots(*opened, queue, *list, is_old ? before : after);
}

}  // namespace hull::testing
