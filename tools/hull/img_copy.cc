#include "tools/hull/img_copy.h"

#include <sys/stat.h>

namespace hull::cli {

using namespace blockcore;

Result<ImgTarget> make_img_target(IoEngine& engine, const ImgCommon& common,
                                  CreateImageOptions create, CacheMode cache) {
  const ImgName name{
      .path = create.path, .format = create.format, .key_secret = {}, .read_only = {}, .cache = {}};
  const bool has_backing = !create.qcow2.backing_name.empty();
  (void)TRY(engine.run_until_done(create_image(engine, std::move(create))));
  ImgTarget target = TRY(open_img_target(engine, common, name, cache));
  struct stat facts{};
  const bool is_device = ::stat(name.path.c_str(), &facts) == 0 && S_ISBLK(facts.st_mode);
  target.is_zero = !has_backing && (target.image.format == DiskFormat::kQcow2 || !is_device);
  return target;
}

Result<ImgTarget> open_img_target(IoEngine& engine, const ImgCommon& common, const ImgName& name,
                                  CacheMode cache) {
  ImgTarget target;
  target.image = TRY(open_img(engine, common, name, {.cache = cache, .writable = true}));
  return target;
}

void suit_target(const ImgTarget& target, CopyOptions& options) {
  options.target_is_zero = options.target_is_zero || target.is_zero;
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

}  // namespace hull::cli
