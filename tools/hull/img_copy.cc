#include "tools/hull/img_copy.h"

#include <sys/stat.h>

#include <algorithm>
#include <thread>

#include "blockcore/format_table.h"
#include "blockcore/nbd/url.h"

namespace hull::cli {

using namespace blockcore;

namespace {

constexpr unsigned kMaxWorkers = 16;
// Behind the page cache more would only fill the processor's caches.
constexpr unsigned kBufferedChunks = 4;
constexpr unsigned kOtherChunks = 8;

bool is_regular_file(const std::string& path) {
  struct stat facts{};
  return ::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode);
}

}  // namespace

Result<ImgTarget> make_img_target(IoEngine& engine, const ImgCommon& common,
                                  CreateImageOptions create, CacheMode cache) {
  const ImgName name{
      .path = create.path, .format = create.format, .encryption = {}, .read_only = {}, .cache = {}};
  const bool has_backing = !create.qcow2.backing_name.empty();
  // The server has made the export.
  const bool is_export = nbd::is_url(create.path);
  if (is_export && driver_of(create.format).has.metadata)
    return fail(ErrorKind::kUnsupported, "{}: an export can only be a raw target", create.path);
  if (is_export) return open_img_target(engine, common, name, cache);
  std::optional<ImageKey> key;
  if (create.qcow2.encryption) key = ImageKey{.secret = create.qcow2.encryption->secret};
  create.durable = false;  // what is copied there will be, as the cache mode says
  (void)TRY(engine.run_until_done(create_image(engine, std::move(create))));
  ImgTarget target = TRY(open_img_target(engine, common, name, cache, key));
  target.is_zero =
      !has_backing && (driver_of(target.image.format).has.metadata || is_regular_file(name.path));
  return target;
}

Result<ImgTarget> open_img_target(IoEngine& engine, const ImgCommon& common, const ImgName& name,
                                  CacheMode cache, const std::optional<ImageKey>& key) {
  ImgTarget target;
  target.image =
      TRY(open_img(engine, common, name, {.cache = cache, .writable = true, .key = key}));
  target.is_buffered_file = target.image.disk->alignment_bytes() == 1 && is_regular_file(name.path);
  return target;
}

void suit_target(const ImgTarget& target, CopyOptions& options) {
  options.target_is_zero = options.target_is_zero || target.is_zero;
  // The kernel lets one buffered write to a file run at a time; the others would only contend.
  options.in_order = target.is_buffered_file;
  if (options.chunks_in_flight == 0)
    options.chunks_in_flight = target.is_buffered_file ? kBufferedChunks : kOtherChunks;
  if (target.image.qcow2 == nullptr) return;
  const qcow2::Geometry& geometry = target.image.qcow2->header().geometry;
  options.target_unit_bytes = geometry.granule_bytes();
  // Where a cluster lies depends on what was written before it.
  options.in_order = true;
}

Result<std::unique_ptr<IoEngine>> make_copy_engine(CacheMode source, CacheMode target) {
  const auto is_direct = [](CacheMode cache) {
    return cache == CacheMode::kNone || cache == CacheMode::kDirectsync;
  };
  return IoEngine::create(is_direct(source) && is_direct(target) ? IoEngineKind::kAutomatic
                                                                 : IoEngineKind::kThreads);
}

Result<std::unique_ptr<WorkerPool>> make_copy_workers(IoEngine& engine) {
  return WorkerPool::create(engine,
                            std::clamp(std::thread::hardware_concurrency(), 1U, kMaxWorkers));
}

}  // namespace hull::cli
