#include "tests/support/qcow2_subject.h"

#include <cstring>
#include <ostream>

#include "blockcore/image/amend.h"
#include "blockcore/image/commit.h"
#include "blockcore/image/rebase.h"
#include "blockcore/image/stream.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/edit/resize.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "blockcore/raw_disk.h"
#include "tests/support/memory_device.h"
#include "tests/support/temporary_directory.h"

namespace hull::testing {
namespace {

using namespace blockcore;
using Backing = SubjectGeometry::Backing;
using DataFile = SubjectGeometry::DataFile;

constexpr size_t kMaxSnapshotsAtOnce = 3;
constexpr size_t kMaxBitmapsAtOnce = 3;
constexpr const char* kFileNames[kSubjectFiles] = {"image", "data", "base", "other"};

std::shared_ptr<const Secret> subject_secret() {
  constexpr std::string_view kText = "model";
  auto secret = Secret::copy(std::as_bytes(std::span(kText.data(), kText.size())));
  CHECK(secret.has_value());
  return std::make_shared<const Secret>(*std::move(secret));
}

Qcow2CreateOptions create_options(const SubjectGeometry& geometry) {
  Qcow2CreateOptions options{.size_bytes = geometry.size_bytes,
                             .version = geometry.version,
                             .cluster_bits = geometry.cluster_bits,
                             .refcount_order = geometry.refcount_order,
                             .lazy_refcounts = geometry.lazy_refcounts,
                             .extended_l2 = geometry.extended_l2};
  if (geometry.zstd) options.compression = qcow2::CompressionType::kZstd;
  if (geometry.backing != Backing::kNone) {
    options.backing_name = kFileNames[kBaseFile];
    options.backing_format = geometry.backing == Backing::kRaw ? "raw" : "qcow2";
  }
  if (geometry.data_file != DataFile::kNone) {
    options.data_file_name = kFileNames[kDataFile];
    options.data_file_raw = geometry.data_file == DataFile::kRaw;
  }
  if (geometry.encrypted)
    options.encryption = Qcow2Encryption{{.iteration_milliseconds = 1}, subject_secret()};
  return options;
}

// An index of kBaseFile or kOtherFile, from the name that a header has.
unsigned backing_file(std::string_view name) {
  return name == kFileNames[kBaseFile] ? kBaseFile : kOtherFile;
}

Bytes disk_of_base(const SubjectGeometry& geometry, const SubjectFiles& files) {
  if (geometry.backing == Backing::kRaw) return files[kBaseFile];
  auto disk = open_qcow2(files[kBaseFile], {.read_only = true});
  CHECK(disk.has_value());
  return *read_disk(**disk);
}

Bytes make_base(const SubjectGeometry& geometry, const Bytes& contents) {
  if (geometry.backing == Backing::kRaw) return contents;
  Bytes image = make_qcow2({.size_bytes = contents.size() / 512 * 512, .cluster_bits = 12});
  auto memory = std::make_unique<MemoryFile>(std::move(image));
  const MemoryFile& file = *memory;
  auto disk = open_qcow2(std::move(memory));
  CHECK(disk.has_value());
  const size_t length = (*disk)->size_bytes() / 3;
  CHECK(write_disk(**disk, length,
                   Bytes(contents.begin(), contents.begin() + static_cast<ptrdiff_t>(length)))
            .has_value());
  CHECK(run_now((*disk)->close()).has_value());
  return const_cast<MemoryFile&>(file).bytes();
}

std::vector<bool> to_bits(const qcow2::BitmapBits& bytes, uint64_t size,
                          uint32_t granularity_bits) {
  std::vector<bool> bits;
  for (uint64_t at = 0; at << granularity_bits < size; ++at)
    bits.push_back((bytes[at / 8] >> (at % 8) & std::byte{1}) != std::byte{0});
  return bits;
}

// Narrow refcounts hold few references.
bool counts_are_full(const Result<void>& result) {
  return !result && result.error().message().contains("the largest that refcounts");
}

// Of an image without the dirty bit, COPIED may be clear without need: nothing worse than a copy
// more than necessary comes of it. Set without right, it would let a snapshot be overwritten.
bool is_harmless(const std::string& message) {
  const size_t entry = message.find("_entry=");
  return message.contains("OFLAG_COPIED") && entry != std::string::npos &&
         message.find(" refcount=1") != std::string::npos &&
         message.find(' ', entry) - entry < sizeof("_entry=8000000000000000") - 1;
}

}  // namespace

void PrintTo(const SubjectGeometry& geometry, std::ostream* out) { *out << geometry.name; }

void fill_random(std::mt19937& random, std::span<uint8_t> bytes) {
  for (size_t at = 0; at < bytes.size(); at += 4) {
    const uint32_t word = static_cast<uint32_t>(random());
    std::memcpy(bytes.data() + at, &word, std::min<size_t>(4, bytes.size() - at));
  }
}

std::string trouble_in_image(const Bytes& image, bool leaks_allowed) {
  MemoryFile file(image);
  const auto header = run_now(qcow2::ImageHeader::read(file));
  if (!header) return header.error().message();
  const auto checked = run_now(qcow2::check_image(file, **header));
  if (!checked) return checked.error().message();
  // Whoever opens it for writing counts anew.
  if (leaks_allowed && ((*header)->incompatible & qcow2::kIncompatibleDirty) != 0) return "";
  const bool corrupt = checked->findings.corruptions != 0;
  if (!corrupt && (checked->leaks == 0 || leaks_allowed)) return "";
  for (const std::string& message : checked->findings.messages) {
    if (corrupt && !message.contains("ERROR")) continue;
    if (!leaks_allowed || (*header)->version >= 3 || !is_harmless(message)) return message;
  }
  return "";
}

Result<OpenSubject> open_subject(const SubjectGeometry& geometry, const SubjectFiles& files,
                                 ShuffleQueue& queue, FaultPlan* plan, SubjectHost* host) {
  OpenSubject subject;
  if (host != nullptr) queue.set_source([host] { host->run(); });
  const auto make_file = [&](unsigned index) -> Result<std::unique_ptr<File>> {
    std::unique_ptr<File> file;
    if (host != nullptr) {
      file = TRY(host->open(index, files[index]));
    } else {
      auto memory = geometry.device_bytes != 0 && index == kImageFile
                        ? std::make_unique<MemoryDevice>(files[index], kFileNames[index])
                        : std::make_unique<MemoryFile>(files[index], kFileNames[index]);
      subject.memory[index] = memory.get();
      file = std::move(memory);
    }
    subject.opened[index] = true;
    if (plan != nullptr) file = std::make_unique<FaultyFile>(std::move(file), *plan, index);
    return std::make_unique<ShuffledFile>(std::move(file), queue);
  };
  // Small caches, so that slices are evicted and commits happen by themselves.
  Qcow2Options options{
      .l2_cache_bytes = 16384, .refcount_cache_bytes = 8192, .allow_data_file = true};
  if (geometry.encrypted) options.secret = subject_secret();
  std::unique_ptr<File> image = TRY(make_file(kImageFile));
  subject.disk = TRY(run_queue(queue, Qcow2Disk::open(std::move(image), options)));
  if (geometry.data_file != DataFile::kNone) subject.disk->set_data_file(TRY(make_file(kDataFile)));
  const std::string& backing = subject.disk->header().backing_name;
  if (backing.empty()) return subject;
  const unsigned index = backing_file(backing);
  std::unique_ptr<File> below = TRY(make_file(index));
  if (index == kBaseFile && geometry.backing == Backing::kQcow2)
    subject.disk->set_backing(TRY(run_queue(queue, Qcow2Disk::open(std::move(below), {}))));
  else
    subject.disk->set_backing(std::make_unique<RawDisk>(std::move(below)));
  return subject;
}

Qcow2Subject::Qcow2Subject(const SubjectGeometry& geometry, std::mt19937& random, FaultPlan* plan,
                           SubjectHost* host)
    : geometry_(geometry), random_(random), plan_(plan), host_(host) {
  MemoryFile file;
  Bytes left(geometry.device_bytes);
  fill_random(random, left);
  MemoryDevice device(std::move(left));
  MemoryFile& image = geometry.device_bytes != 0 ? device : file;
  MemoryFile data;
  CHECK(run_now(create_qcow2(image, create_options(geometry),
                             geometry.data_file == DataFile::kNone ? nullptr : &data))
            .has_value());
  files_[kImageFile] = image.bytes();
  files_[kDataFile] = data.bytes();
  state_.disk.resize(geometry.size_bytes);
  const uint64_t sizes[] = {geometry.size_bytes * 3 / 4 - 700, geometry.size_bytes,
                            geometry.size_bytes + 5000};
  if (geometry.backing != Backing::kNone) {
    Bytes contents(sizes[below(3)]);
    fill_random(random, contents);
    files_[kBaseFile] = make_base(geometry, contents);
    contents = disk_of_base(geometry, files_);
    contents.resize(geometry.size_bytes);
    state_.disk = std::move(contents);
  }
  // Like the disk in parts.
  files_[kOtherFile] = state_.disk;
  files_[kOtherFile].resize(sizes[below(3)]);
  fill_random(random, std::span(files_[kOtherFile]).subspan(files_[kOtherFile].size() / 2));
  auto opened = open_subject(geometry_, files_, queue_, plan_, host_);
  CHECK(opened.has_value());
  open_ = *std::move(opened);
}

template <class T>
Result<T> Qcow2Subject::run(Task<Result<T>> task) {
  return run_queue(queue_, std::move(task));
}

std::string Qcow2Subject::done(const std::string& what, const Result<void>& result) {
  if (result) return "";
  failed_ = true;
  return failures_allowed_ ? "" : what + ": " + result.error().message();
}

void Qcow2Subject::touch(const Bytes& touched) {
  for (auto& [name, bitmap] : state_.bitmaps) {
    if (!bitmap.enabled) continue;
    for (size_t at = 0; at < touched.size(); ++at)
      if (touched[at] != 0) bitmap.bits[at >> bitmap.granularity_bits] = true;
  }
}

void Qcow2Subject::prepare(DiskTrace& trace) {
  if (failures_allowed_) trace.allow_failures();
  if (geometry_.data_file == DataFile::kNone && !geometry_.encrypted)
    trace.allow_compressed(disk(), geometry_.compressed_one_in);
  if (crowded_)
    trace.crowd(below(state_.disk.size()), 3 * disk().header().geometry.cluster_bytes());
}

void Qcow2Subject::keep_outcome(DiskTrace& trace) {
  wanted_.disk = state_.disk;
  wanted_.loose = trace.take_touched();
  touch(wanted_.loose);
  failed_ = trace.failures() != 0;
}

std::string Qcow2Subject::trace(unsigned count, unsigned depth) {
  DiskTrace trace(disk(), state_.disk, queue_, random_);
  prepare(trace);
  std::string trouble = trace.run(count, depth);
  wanted_ = state_;
  keep_outcome(trace);
  wanted_.bitmaps = state_.bitmaps;
  return trouble;
}

// A snapshot that is made or deleted while a trace runs.
struct Qcow2Subject::Beside {
  bool creates;
  size_t index = 0;     // of the one to delete
  std::string id = {};  // of the snapshot
  Bytes disk = {};      // what the new one has
  std::optional<Result<void>> result = std::nullopt;

  Task<void> run(qcow2::Parts& parts, uint64_t step_bytes) {
    auto done = creates ? qcow2::create_snapshot(parts, {.name = "beside"}, step_bytes)
                        : qcow2::delete_snapshot(parts, index, step_bytes);
    result.emplace(co_await std::move(done));
  }
};

std::string Qcow2Subject::trace_beside(const std::string& name, unsigned count, unsigned depth) {
  failed_ = false;
  wanted_ = state_;
  if (name == "stream") return stream_beside(count, depth);
  if (name == "delete_snapshot" && state_.snapshots.empty()) return "";
  const auto list = run(qcow2::list_snapshots(disk().parts()));
  if (!list) return done("list snapshots", std::unexpected(list.error()));
  Beside beside{.creates = name == "create_snapshot", .index = below(list->size())};
  uint64_t last = 0;
  for (const qcow2::Snapshot& one : *list) last = std::max<uint64_t>(last, std::stoull(one.id));
  beside.id = beside.creates ? std::to_string(last + 1) : (*list)[beside.index].id;

  // Most often a table at a time.
  const uint64_t step_bytes = below(3) == 0 ? qcow2::kSnapshotStepBytes : 1;
  DiskTrace trace(disk(), state_.disk, queue_, random_);
  prepare(trace);
  std::string trouble = trace.run(count, depth, [&] {
    trace.copy_at_cut(beside.disk);
    start_detached(beside.run(disk().parts(), step_bytes));
  });
  while (!queue_.empty()) queue_.resume(0);
  keep_outcome(trace);
  return trouble.empty() ? judge(beside) : trouble;
}

std::string Qcow2Subject::judge(Beside& beside) {
  if (!beside.result) return "the snapshot hangs";
  if (beside.creates)
    wanted_.snapshots[beside.id] = beside.disk;
  else
    wanted_.snapshots.erase(beside.id);
  if (counts_are_full(*beside.result)) return "";
  if (!*beside.result) return done("a snapshot beside requests", *beside.result);
  state_.snapshots = wanted_.snapshots;
  return "";
}

std::string Qcow2Subject::stream_beside(unsigned count, unsigned depth) {
  DiskTrace trace(disk(), state_.disk, queue_, random_);
  prepare(trace);
  const StreamOptions options{.step_bytes =
                                  disk().header().geometry.cluster_bytes() * (1 + below(3))};
  std::optional<Result<bool>> result;
  const auto stream = [](Qcow2Disk& overlay, StreamOptions how,
                         std::optional<Result<bool>>& end) -> Task<void> {
    end.emplace(co_await stream_backing(overlay, std::move(how)));
  };
  std::string trouble =
      trace.run(count, depth, [&] { start_detached(stream(disk(), options, result)); });
  while (!queue_.empty()) queue_.resume(0);
  keep_outcome(trace);
  if (!trouble.empty()) return trouble;
  if (!result) return "streaming hangs";
  const bool forgotten = disk().header().backing_name.empty();
  if (forgotten) open_.opened[kBaseFile] = open_.opened[kOtherFile] = false;  // closed
  if (!*result) return done("streaming", std::unexpected(result->error()));
  return forgotten ? "" : "the header names a backing file";
}

std::string Qcow2Subject::verify() {
  return DiskTrace(disk(), state_.disk, queue_, random_).verify();
}

std::string Qcow2Subject::flush() { return done("flush", run(disk().flush())); }

SubjectFiles Qcow2Subject::current_files() const {
  SubjectFiles files = files_;
  for (unsigned i = 0; i < kSubjectFiles; ++i)
    if (open_.opened[i])
      files[i] = host_ != nullptr ? host_->contents(i) : open_.memory[i]->bytes();
  return files;
}

SubjectFiles Qcow2Subject::abandon() {
  files_ = current_files();
  open_ = {};
  return files_;
}

std::string Qcow2Subject::close() {
  std::string trouble = done("close", run(disk().close()));
  (void)abandon();
  if (!trouble.empty() || failed_) return trouble;
  if (geometry_.data_file == DataFile::kRaw) trouble = verify_raw_file();
  if (!trouble.empty()) return trouble;
  trouble = trouble_in_image(files_[kImageFile], /*leaks_allowed=*/failures_allowed_);
  if (trouble.empty() && geometry_.backing == Backing::kQcow2)
    trouble = trouble_in_image(files_[kBaseFile], /*leaks_allowed=*/failures_allowed_);
  return trouble.empty() ? verify_bitmaps() : trouble;
}

// Alone it reads as the disk does.
std::string Qcow2Subject::verify_raw_file() const {
  Bytes data = files_[kDataFile];
  data.resize(state_.disk.size());
  return data == state_.disk ? "" : "the raw data file does not hold what the disk does";
}

std::string Qcow2Subject::reopen() {
  if (open_.disk != nullptr)
    if (std::string trouble = close(); !trouble.empty() || failed_) return trouble;
  auto opened = open_subject(geometry_, files_, queue_, plan_, host_);
  if (!opened) return done("open", std::unexpected(std::move(opened).error()));
  open_ = *std::move(opened);
  return "";
}

std::vector<std::string> Qcow2Subject::names() const {
  std::vector<std::string> names{"reopen", "commit", "rebase"};
  if (geometry_.data_file == DataFile::kNone)
    names.insert(names.end(),
                 {"create_snapshot", "create_snapshot", "apply_snapshot", "delete_snapshot"});
  names.insert(names.end(), {"resize", "resize", "amend", "bitmaps", "bitmaps"});
  return names;
}

std::string Qcow2Subject::change(const std::string& name) {
  failed_ = false;
  if (name == "create_snapshot") return create_snapshot();
  if (name == "apply_snapshot") return apply_snapshot();
  if (name == "delete_snapshot") return delete_snapshot();
  if (name == "resize") return resize();
  if (name == "commit") return commit();
  if (name == "rebase") return rebase();
  if (name == "amend") return amend();
  if (name == "bitmaps") return change_bitmaps();
  CHECK(name == "reopen");
  return reopen();
}

std::string Qcow2Subject::create_snapshot() {
  if (state_.snapshots.size() >= kMaxSnapshotsAtOnce) return delete_snapshot();
  auto created = run(qcow2::create_snapshot(disk().parts(), {.name = "s"}));
  if (counts_are_full(created)) return "";
  if (!created) return done("create a snapshot", created);
  const auto list = run(qcow2::list_snapshots(disk().parts()));
  if (!list) return done("list snapshots", std::unexpected(list.error()));
  state_.snapshots[list->back().id] = state_.disk;
  return "";
}

std::string Qcow2Subject::apply_snapshot() {
  if (state_.snapshots.empty()) return "";
  const size_t index = below(state_.snapshots.size());
  const auto list = run(qcow2::list_snapshots(disk().parts()));
  if (!list) return done("list snapshots", std::unexpected(list.error()));
  const auto applied = run(qcow2::apply_snapshot(disk().parts(), index));
  if (!state_.bitmaps.empty()) return applied ? "a snapshot was applied in spite of bitmaps" : "";
  if (counts_are_full(applied)) return "";
  if (!applied) return done("apply a snapshot", applied);
  state_.disk = state_.snapshots.at((*list)[index].id);
  return "";
}

std::string Qcow2Subject::delete_snapshot() {
  if (state_.snapshots.empty()) return "";
  const size_t index = below(state_.snapshots.size());
  const auto list = run(qcow2::list_snapshots(disk().parts()));
  if (!list) return done("list snapshots", std::unexpected(list.error()));
  const auto deleted = run(qcow2::delete_snapshot(disk().parts(), index));
  if (!deleted) return done("delete a snapshot", deleted);
  state_.snapshots.erase((*list)[index].id);
  return "";
}

std::string Qcow2Subject::resize() {
  const uint64_t sectors = geometry_.size_bytes * 2 / 512;
  const uint64_t near = state_.disk.size() / 512 + below(300);
  const uint64_t size =
      (below(2) == 0 ? 1 + below(sectors) : std::max<uint64_t>(near, 151) - 150) * 512;
  qcow2::ResizeOptions options{.size_bytes = size};
  if (size > state_.disk.size() && !geometry_.encrypted && below(3) == 0)
    options.preallocation = static_cast<Preallocation>(below(4));
  // Whose bitmaps are not in use.
  if (std::string trouble = state_.bitmaps.empty() ? "" : reopen(); !trouble.empty() || failed_)
    return trouble;
  const auto resized = run(qcow2::resize(disk().parts(), options));
  const bool refused = !state_.snapshots.empty() && disk().header().version < 3;
  if (refused) return resized ? "an image was resized that cannot be" : "";
  if (!resized) return done("resize", resized);
  state_.disk.resize(size);
  for (auto& [name, bitmap] : state_.bitmaps)
    bitmap.bits.resize(((size - 1) >> bitmap.granularity_bits) + 1);
  return "";
}

std::string Qcow2Subject::commit() {
  // Snapshots see the backing file as well: they would change.
  if (disk().header().backing_name.empty() || !state_.snapshots.empty()) return "";
  if (std::string trouble = reopen(); !trouble.empty() || failed_) return trouble;
  const unsigned index = backing_file(disk().header().backing_name);
  const bool is_raw = index == kOtherFile || geometry_.backing == Backing::kRaw;
  Disk* const base = disk().parts().image.backing.get();
  if (base->size_bytes() < state_.disk.size()) {
    if (is_raw) return "";
    const auto grown = run(
        qcow2::resize(static_cast<Qcow2Disk*>(base)->parts(), {.size_bytes = state_.disk.size()}));
    if (!grown) return done("grow the base", grown);
  }
  auto committed = run(commit_into(disk(), *base, 1, {}));
  if (!committed) return done("commit", committed);
  if (below(4) == 0) return "";
  return done("empty", run(empty_overlay(disk())));
}

std::string Qcow2Subject::rebase() {
  // A raw data file can have nothing below it.
  if (!state_.snapshots.empty() || geometry_.data_file == DataFile::kRaw) return "";
  if (std::string trouble = reopen(); !trouble.empty() || failed_) return trouble;
  const std::string now = disk().header().backing_name;
  const unsigned index = now.empty()     ? kOtherFile
                         : below(3) == 0 ? 0U
                         : now == "base" ? kOtherFile
                                         : kBaseFile;
  if (index == kBaseFile && geometry_.backing == Backing::kNone) return "";
  std::unique_ptr<Disk> other;
  if (index != 0) {
    Bytes contents = index == kBaseFile ? disk_of_base(geometry_, files_) : files_[index];
    other = std::make_unique<RawDisk>(std::make_unique<MemoryFile>(std::move(contents)));
  }
  rebased_ = true;
  auto pulled = run(pull_differences(disk(), other.get(), {}));
  if (!pulled) return done("rebase", pulled);
  std::optional<std::string> format;
  if (index != 0)
    format = index == kBaseFile && geometry_.backing == Backing::kQcow2 ? "qcow2" : "raw";
  const auto set = run(disk().parts().image.header.set_backing(
      *disk().parts().image.file, index == 0 ? "" : kFileNames[index], format));
  if (!set) return done("rebase", set);
  return reopen();
}

std::string Qcow2Subject::amend() {
  if (std::string trouble = reopen(); !trouble.empty() || failed_) return trouble;
  AmendOptions options;
  const uint32_t version = disk().header().version;
  if (below(2) == 0) options.version = 5 - version;
  if (options.version.value_or(version) == 3) {
    if (below(2) == 0) options.refcount_order = static_cast<uint32_t>(below(7));
    if (below(2) == 0) options.lazy_refcounts = below(2) == 0;
  } else {
    options.refcount_order = 4;
  }
  const auto amended = run(amend_qcow2(disk(), options));
  // Much is refused: counts that do not fit, what version 2 does not have.
  const bool refused = !amended && (amended.error().kind() == ErrorKind::kUsage ||
                                    amended.error().kind() == ErrorKind::kUnsupported ||
                                    amended.error().message().contains("too many for"));
  if (!amended && !refused) return done("amend", amended);
  (void)abandon();
  return reopen();
}

std::string Qcow2Subject::change_bitmaps() {
  if (disk().header().version < 3) return "";
  if (std::string trouble = reopen(); !trouble.empty() || failed_) return trouble;
  auto directory = run(qcow2::read_bitmap_directory(*disk().parts().image.file, disk().header()));
  if (!directory) return done("read the bitmaps", std::unexpected(directory.error()));
  std::vector<qcow2::StoredBitmap> stored;
  for (qcow2::Bitmap& one : directory->bitmaps) stored.push_back({std::move(one)});
  auto changed = state_.bitmaps;
  const uint64_t size = state_.disk.size();
  const uint64_t kind = stored.empty() ? 0 : below(6);
  if (kind == 0 && stored.size() < kMaxBitmapsAtOnce) {
    const std::string name = fmt::format("b{}", below(1000));
    if (changed.contains(name)) return "";
    const auto bits = static_cast<uint32_t>(9 + below(10));
    stored.push_back({{.name = name, .enabled = true, .granularity_bits = bits},
                      qcow2::BitmapBits(qcow2::bitmap_bytes(size, bits))});
    changed[name] = {bits, true, std::vector<bool>((size + (uint64_t{1} << bits) - 1) >> bits)};
  } else if (kind == 1) {
    stored.clear();
    changed.clear();
  } else {
    const size_t index = below(stored.size());
    qcow2::Bitmap& bitmap = stored[index].bitmap;
    BitmapModel& model = changed.at(bitmap.name);
    if (kind == 2) {
      stored[index].bits.emplace(qcow2::bitmap_bytes(size, bitmap.granularity_bits));
      model.bits.assign(model.bits.size(), false);
    } else if (kind == 3) {
      bitmap.enabled = model.enabled = !bitmap.enabled;
    } else if (kind == 4) {
      changed.erase(bitmap.name);
      stored.erase(stored.begin() + static_cast<ptrdiff_t>(index));
    } else {
      const size_t source = below(stored.size());
      const qcow2::Bitmap& other = stored[source].bitmap;
      File& file = *disk().parts().image.file;
      auto from = run(qcow2::load_bits(file, disk().header(), other));
      auto to = run(qcow2::load_bits(file, disk().header(), bitmap));
      if (!from || !to) return done("load", std::unexpected(from ? to.error() : from.error()));
      qcow2::merge_bits(*to, bitmap.granularity_bits, *from, other.granularity_bits, size);
      stored[index].bits = *std::move(to);
      const BitmapModel& added = state_.bitmaps.at(other.name);
      for (uint64_t at = 0; at < size; at += 512)
        if (added.bits[at >> added.granularity_bits])
          model.bits[at >> model.granularity_bits] = true;
    }
  }
  const auto saved = run(qcow2::save_bitmaps(disk().parts(), std::move(stored)));
  if (!saved) return done("save bitmaps", saved);
  state_.bitmaps = std::move(changed);
  return reopen();
}

std::string Qcow2Subject::verify_bitmaps() {
  MemoryFile file(files_[kImageFile]);
  const auto header = run_now(qcow2::ImageHeader::read(file));
  if (!header) return header.error().message();
  const auto directory = run_now(qcow2::read_bitmap_directory(file, **header));
  if (!directory) return directory.error().message();
  if (directory->bitmaps.size() != state_.bitmaps.size())
    return fmt::format("{} bitmaps, not {}", directory->bitmaps.size(), state_.bitmaps.size());
  for (const qcow2::Bitmap& bitmap : directory->bitmaps) {
    const auto model = state_.bitmaps.find(bitmap.name);
    if (model == state_.bitmaps.end()) return "bitmap " + bitmap.name + " should not be there";
    const auto bits = run_now(qcow2::load_bits(file, **header, bitmap));
    if (!bits) return bits.error().message();
    const BitmapModel now{bitmap.granularity_bits, bitmap.enabled,
                          to_bits(*bits, state_.disk.size(), bitmap.granularity_bits)};
    if (rebased_ && std::ranges::equal(now.bits, model->second.bits, std::greater_equal<>()))
      model->second.bits = now.bits;
    if (now != model->second) return "bitmap " + bitmap.name + " has other bits";
  }
  rebased_ = false;
  return "";
}

std::string Qcow2Subject::verify_snapshots() {
  auto opened = open_subject(geometry_, files_, queue_, nullptr);
  if (!opened) return opened.error().message();
  qcow2::Parts& parts = opened->disk->parts();
  if (!state_.bitmaps.empty())
    if (auto none = run(qcow2::save_bitmaps(parts, {})); !none) return none.error().message();
  const auto list = run(qcow2::list_snapshots(parts));
  if (!list) return list.error().message();
  if (list->size() != state_.snapshots.size())
    return fmt::format("{} snapshots, not {}", list->size(), state_.snapshots.size());
  for (size_t i = 0; i < list->size(); ++i) {
    const auto expected = state_.snapshots.find((*list)[i].id);
    if (expected == state_.snapshots.end()) return "there is a snapshot " + (*list)[i].id;
    const auto applied = run(qcow2::apply_snapshot(parts, i));
    if (counts_are_full(applied)) continue;
    if (!applied) return applied.error().message();
    Bytes model = expected->second;
    if (std::string trouble = DiskTrace(*opened->disk, model, queue_, random_).verify();
        !trouble.empty() || opened->disk->size_bytes() != model.size())
      return "snapshot " + (*list)[i].id + ": " + trouble;
  }
  return "";
}

std::string Qcow2Subject::ask_qemu() const {
  if (!have_qemu_img() || geometry_.encrypted) return "";
  const TemporaryDirectory directory;
  for (unsigned i = 0; i < kSubjectFiles; ++i) save_file(directory / kFileNames[i], files_[i]);
  save_file(directory / "model", state_.disk);
  std::string command = "cd " + directory.path() +
                        " && qemu-img check -f qcow2 image && "
                        "qemu-img compare -f qcow2 -F raw image model";
  for (const auto& [id, contents] : state_.snapshots) {
    save_file(directory / ("model" + id), contents);
    command += fmt::format(
        " && qemu-img convert -f qcow2 -O raw -l snapshot.id={0} image out{0} && "
        "cmp -n {1} out{0} model{0}",
        id, std::min(contents.size(), state_.disk.size()));
  }
  const CommandResult asked = run_command(command);
  return asked.exit_code == 0 ? "" : asked.output;
}

}  // namespace hull::testing
