#include "blockcore/image/backing_chain.h"

#include "blockcore/backing_name.h"
#include "blockcore/format_table.h"

namespace hull::blockcore {

Result<DiskFormat> format_of_name(const std::string& path, const std::string& name) {
  return parse_format(name).with_context(path);
}

Result<std::optional<BackingLevel>> backing_level(const Qcow2Disk& image) {
  const qcow2::Header& header = image.header();
  if (header.backing_name.empty()) return std::nullopt;
  if (!header.backing_format)
    return fail(ErrorKind::kInvalidConfig,
                "{}: does not say which format its backing file '{}' has: name it with rebase -u "
                "-F",
                image.file().path(), header.backing_name);
  BackingLevel level;
  level.path = TRY(resolve_backing_name(image.file().path(), header.backing_name));
  level.format = TRY(format_of_name(level.path, *header.backing_format));
  return level;
}

Task<Result<std::unique_ptr<Disk>>> open_backing(IoEngine& engine, const Qcow2Disk& image,
                                                 CacheMode cache, const ImageKeys& keys) {
  CO_TRY(const std::optional<BackingLevel> level, backing_level(image));
  if (!level) co_return nullptr;
  OpenOptions options{.path = level->path, .format = level->format, .cache = cache};
  options.read_only = true;
  options.keys = keys_from_level(keys, 1);
  co_return co_await open_disk(engine, std::move(options));
}

}  // namespace hull::blockcore
