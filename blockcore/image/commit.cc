#include "blockcore/image/commit.h"

#include <filesystem>
#include <memory>
#include <vector>

#include "blockcore/backing_name.h"
#include "blockcore/image/backing_chain.h"
#include "blockcore/image/chain_files.h"
#include "blockcore/image/rate_limit.h"
#include "blockcore/image/resize.h"
#include "blockcore/image/single_image.h"
#include "blockcore/qcow2/edit/trim.h"

namespace hull::blockcore {
namespace {

class Committing final : public ChunkWork {
 public:
  // `depth` is that of the base below the overlay.
  Committing(Disk& overlay, Disk& base, uint32_t depth, uint64_t bytes_per_second)
      : overlay_(overlay), base_(base), depth_(depth), rate_(bytes_per_second) {}

  Task<Result<void>> run(uint64_t offset, uint64_t length) override {
    for (const uint64_t end = offset + length; offset < end;) {
      CO_TRY(const BlockStatus status, co_await overlay_.block_status(offset, end - offset));
      if (status.present && status.depth < depth_)
        CO_TRY_VOID(co_await move(offset, status.length, status.zero));
      offset += status.length;
    }
    co_return {};
  }

 private:
  Task<Result<void>> move(uint64_t offset, uint64_t length, bool zero) {
    if (zero) co_return co_await base_.write_zeroes(offset, length, /*may_unmap=*/true);
    const auto memory = std::make_unique_for_overwrite<std::byte[]>(length);
    const iovec buffer{memory.get(), length};
    CO_TRY_VOID(co_await overlay_.read(offset, {&buffer, 1}));
    CO_TRY_VOID(co_await base_.write(offset, {&buffer, 1}));
    moved_ += length;
    rate_.wait_for(moved_);
    co_return {};
  }

  Disk& overlay_;
  Disk& base_;
  const uint32_t depth_;
  const RateLimit rate_;
  uint64_t moved_ = 0;
};

bool is_named(const BackingLevel& level, const Qcow2Disk& above, const std::string& name) {
  std::error_code ignored;
  return name == level.path || name == above.header().backing_name ||
         std::filesystem::equivalent(name, level.path, ignored);
}

// The images between the overlay and the base, the upper ones first, and where the base is.
struct Between {
  std::vector<std::unique_ptr<Qcow2Disk>> images;
  BackingLevel base;
};

Task<Result<Between>> find_base(IoEngine& engine, const Qcow2Disk& overlay,
                                const CommitOptions& options) {
  Between between;
  const Qcow2Disk* above = &overlay;
  for (;;) {
    CO_TRY(const std::optional<BackingLevel> level, backing_level(*above));
    if (!level && options.base.empty())
      co_return fail(ErrorKind::kInvalidConfig, "Image does not have a backing file");
    if (level && (options.base.empty() || is_named(*level, *above, options.base))) {
      between.base = *level;
      co_return between;
    }
    if (!level || level->format == DiskFormat::kRaw || between.images.size() == kMaxChainLength)
      co_return fail(ErrorKind::kInvalidConfig, "Did not find '{}' in the backing chain of '{}'",
                     options.base, options.path);
    SingleImageOptions single{.path = level->path,
                              .format = level->format,
                              .cache = options.cache,
                              .read_only = true,
                              .key = key_of_level(options.keys, between.images.size() + 1)};
    CO_TRY(std::unique_ptr<Qcow2Disk> image, co_await open_single_qcow2(engine, std::move(single)));
    between.images.push_back(std::move(image));
    above = between.images.back().get();
  }
}

// `keys`: of the base and what is below.
Task<Result<std::unique_ptr<Disk>>> open_base(IoEngine& engine, const BackingLevel& level,
                                              CacheMode cache, const ImageKeys& keys) {
  OpenOptions open{.path = level.path, .format = level.format, .cache = cache};
  open.unmap = true;
  open.keys = keys;
  co_return co_await open_disk(engine, std::move(open));
}

// At least `size` bytes long.
Task<Result<std::unique_ptr<Disk>>> open_large_base(IoEngine& engine, const BackingLevel& level,
                                                    CacheMode cache, const ImageKeys& keys,
                                                    uint64_t size) {
  {
    CO_TRY(std::unique_ptr<Disk> base, co_await open_base(engine, level, cache, keys));
    if (base->size_bytes() >= size) co_return base;
    CO_TRY_VOID(co_await base->close());
  }
  ResizeImageOptions resize{.path = level.path, .format = level.format, .cache = cache};
  resize.new_size = [size](uint64_t) { return Result<uint64_t>(size); };
  resize.keys = keys;
  auto resized = co_await resize_image(engine, std::move(resize));
  if (!resized) co_return std::unexpected(std::move(resized).error());
  co_return co_await open_base(engine, level, cache, keys);
}

// They read from the base what they do not hold.
Result<void> check_snapshots(const Qcow2Disk& image, const CommitOptions& options) {
  const uint32_t count = image.header().snapshot_count;
  if (count == 0 || options.change_snapshots) return {};
  return fail(ErrorKind::kUnsupported,
              "{}: has {} internal snapshots, which read from the base, too, and would change: "
              "delete or convert them first, or say --change-snapshots",
              image.file().path(), count);
}

// What is written to must not be what is read: the overlay, or its data file.
Task<Result<void>> check_base(IoEngine& engine, const Qcow2Disk& overlay, const BackingLevel& base,
                              const CommitOptions& options) {
  const std::vector<ChainFile> files = co_await chain_files(engine, base.path, base.format);
  CO_TRY_VOID(check_apart(options.path, files));
  if (!overlay.header().has_data_file()) co_return {};
  CO_TRY(const std::string data,
         resolve_data_file_name(options.path, overlay.header().data_file_name()));
  co_return check_apart(data, files);
}

}  // namespace

Task<Result<void>> commit_into(Qcow2Disk& overlay, Disk& base, uint32_t depth,
                               const CommitPace& pace) {
  Committing committing(overlay, base, depth, pace.bytes_per_second);
  CO_TRY_VOID(co_await for_each_chunk(overlay.size_bytes(), committing, pace.progress));
  co_return co_await base.flush();
}

Task<Result<void>> empty_overlay(Qcow2Disk& overlay) {
  // As any first change does, this clears the autoclear bits that would not be true any more.
  CO_TRY_VOID(co_await overlay.discard(0, 0));
  CO_TRY_VOID(co_await qcow2::forget_clusters(overlay.parts(), 0));
  qcow2::Image& image = overlay.parts().image;
  // A hint. Nothing refers to it any more.
  if (image.data_file != nullptr) (void)co_await image.data_file->discard(0, image.size_bytes());
  co_return co_await qcow2::cut_tail(overlay.parts());
}

Task<Result<void>> commit_image(IoEngine& engine, CommitOptions options) {
  SingleImageOptions single{.path = options.path,
                            .format = options.format,
                            .cache = options.cache,
                            .key = key_of_level(options.keys, 0)};
  CO_TRY(const std::unique_ptr<Qcow2Disk> overlay,
         co_await open_single_qcow2(engine, std::move(single)));
  CO_TRY(Between between, co_await find_base(engine, *overlay, options));
  CO_TRY_VOID(check_snapshots(*overlay, options));
  for (const auto& image : between.images) CO_TRY_VOID(check_snapshots(*image, options));
  CO_TRY_VOID(co_await check_base(engine, *overlay, between.base, options));
  const auto depth = static_cast<uint32_t>(between.images.size() + 1);
  const ImageKeys keys = keys_from_level(options.keys, depth);
  CO_TRY(std::unique_ptr<Disk> below, co_await open_large_base(engine, between.base, options.cache,
                                                               keys, overlay->size_bytes()));
  Disk& base = *below;
  for (; !between.images.empty(); between.images.pop_back()) {
    between.images.back()->set_backing(std::move(below));
    below = std::move(between.images.back());
  }
  overlay->set_backing(std::move(below));

  CO_TRY_VOID(co_await commit_into(*overlay, base, depth, options.pace));
  if (!options.keep_overlay) CO_TRY_VOID(co_await empty_overlay(*overlay));
  co_return co_await overlay->close();
}

}  // namespace hull::blockcore
