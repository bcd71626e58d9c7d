#include "blockcore/image/compact.h"

#include <sys/stat.h>

#include "blockcore/file/local_file.h"
#include "blockcore/image/info.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/check/rebuild.h"
#include "blockcore/qcow2/edit/compact.h"
#include "blockcore/qcow2/format/bitmap_directory.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {
namespace {

// The passes over the guest's clusters, as parts of one progress.
ProgressReport half(const ProgressReport& whole, uint64_t which) {
  if (!whole) return {};
  return [&whole, which](uint64_t done, uint64_t total) { whole(which * total + done, 2 * total); };
}

// From here on the refcounts say exactly what is used.
Task<Result<uint64_t>> free_leaks(File& file, qcow2::ImageHeader& header) {
  if (header->corrupt())
    co_return fail(ErrorKind::kCorrupt,
                   "the image is marked corrupt: repair it with hull img check -r all first");
  if (header->dirty()) CO_TRY_VOID(co_await qcow2::rebuild_refcounts(file, header));
  CO_TRY(const qcow2::CheckResult found,
         co_await qcow2::repair_image(file, header, qcow2::Repair::kLeaks));
  if (found.needs_rebuild || found.findings.corruptions != 0)
    co_return fail(ErrorKind::kCorrupt,
                   "the image has errors: repair it with hull img check -r all first");
  co_return found.leaks_fixed;
}

Task<Result<void>> compact_now(Qcow2Disk& disk, const CompactOptions& options,
                               CompactReport& report) {
  qcow2::Parts& parts = disk.parts();
  qcow2::Image& image = parts.image;
  // The guest's data stays what it is, and so do its bitmaps; other bits vouch for what is unknown.
  const uint64_t known = image.header->autoclear & qcow2::kAutoclearBitmaps;
  if (image.header->autoclear != known)
    CO_TRY_VOID(co_await image.header.set_features(*image.file, image.header->incompatible, known));
  CO_TRY(const qcow2::BitmapDirectory directory,
         co_await qcow2::read_bitmap_directory(*image.file, *image.header));
  report.bitmaps = static_cast<uint32_t>(directory.bitmaps.size());
  report.snapshots = image.header->snapshot_count;
  qcow2::CompactCounts counts;
  CO_TRY_VOID(co_await qcow2::drop_zeros(parts, counts, half(options.progress, 0)));
  CO_TRY_VOID(co_await qcow2::move_down(parts, counts, half(options.progress, 1)));
  CO_TRY_VOID(co_await disk.close());
  report.zeros_freed = counts.zeros;
  report.moved = counts.moved;
  // What the disk has in memory is not true any more.
  CO_TRY(report.holes, co_await qcow2::pack_refcounts(*image.file, image.header));
  co_return {};
}

struct Lengths {
  uint64_t file_bytes;
  uint64_t actual_bytes;
};

Result<Lengths> measure(const std::string& path) {
  struct stat facts;
  if (::stat(path.c_str(), &facts) < 0) return std::unexpected(Error::from_errno(path));
  return Lengths{static_cast<uint64_t>(facts.st_size),
                 static_cast<uint64_t>(facts.st_blocks) * 512};
}

}  // namespace

Task<Result<CompactReport>> compact_file(std::unique_ptr<File> file, CompactOptions options) {
  CompactReport report;
  const std::string path = file->path();
  auto header = (co_await qcow2::ImageHeader::read(*file)).with_context(path);
  if (!header) co_return std::unexpected(std::move(header).error());
  if ((*header)->has_data_file())
    co_return fail(ErrorKind::kUnsupported, "{}: has an external data file, and no data itself",
                   path);
  auto freed = (co_await free_leaks(*file, *header)).with_context(path);
  if (!freed) co_return std::unexpected(std::move(freed).error());
  report.leaks_freed = *freed;
  Qcow2Options how{.secret = options.secret};
  CO_TRY(const std::unique_ptr<Qcow2Disk> disk,
         co_await Qcow2Disk::open(std::move(file), std::move(how)));
  auto done = (co_await compact_now(*disk, options, report)).with_context(path);
  if (!done) co_return std::unexpected(std::move(done).error());
  co_return report;
}

Task<Result<CompactReport>> compact_image(IoEngine& engine, CompactOptions options) {
  const LockRequest lock{.write = true, .resize = true};
  CO_TRY(std::unique_ptr<LocalFile> file,
         LocalFile::open(engine, options.path, {.cache = options.cache, .lock = lock}));
  DiskFormat format = options.format.value_or(DiskFormat::kRaw);
  if (!options.format) {
    CO_TRY(format, co_await probe_format(*file));
  }
  if (format != DiskFormat::kQcow2)
    co_return fail(ErrorKind::kUnsupported, "{}: is a raw image, not qcow2", options.path);
  const std::string path = options.path;
  CO_TRY(const Lengths before, measure(path));
  CO_TRY(CompactReport report, co_await compact_file(std::move(file), std::move(options)));
  CO_TRY(const Lengths after, measure(path));
  report.file_bytes_before = before.file_bytes;
  report.file_bytes = after.file_bytes;
  report.actual_bytes_before = before.actual_bytes;
  report.actual_bytes = after.actual_bytes;
  co_return report;
}

}  // namespace hull::blockcore
