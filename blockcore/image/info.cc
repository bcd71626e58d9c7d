#include "blockcore/image/info.h"

#include <sys/stat.h>

#include <cstring>

#include "base/checked.h"
#include "base/log.h"
#include "blockcore/backing_name.h"
#include "blockcore/qcow2/format/encryption.h"
#include "blockcore/qcow2/format/image_header.h"

namespace hull::blockcore {

Task<Result<ImageInfo>> read_image_info(LocalFile& file, DiskFormat format) {
  ImageInfo info;
  info.path = file.path();
  info.format = format;
  struct stat facts{};
  if (::fstat(file.fd(), &facts) == 0)
    info.actual_bytes = static_cast<uint64_t>(facts.st_blocks) * 512;
  if (format == DiskFormat::kRaw) {
    // As qemu-img has it: whole sectors.
    info.size_bytes = align_up(file.size_bytes(), uint64_t{512});
    co_return info;
  }
  auto header = (co_await qcow2::ImageHeader::read(file)).with_context(info.path);
  if (!header) co_return std::unexpected(std::move(header).error());
  info.header = **header;
  info.size_bytes = info.header->size_bytes;
  auto luks = (co_await qcow2::read_luks_header(file, *info.header)).with_context(info.path);
  if (luks)
    info.luks = *std::move(luks);
  else if (luks.error().kind() != ErrorKind::kUnsupported)
    co_return std::unexpected(std::move(luks).error());
  auto table = (co_await qcow2::read_snapshot_table(file, *info.header)).with_context(info.path);
  if (!table) co_return std::unexpected(std::move(table).error());
  if (!table->cut.empty()) LOG_WARN("{}: {}", info.path, table->cut);
  info.snapshots = std::move(table->snapshots);
  auto directory =
      (co_await qcow2::read_bitmap_directory(file, *info.header)).with_context(info.path);
  if (!directory) co_return std::unexpected(std::move(directory).error());
  info.bitmaps = std::move(directory->bitmaps);
  if (!info.header->backing_name.empty())
    if (auto path = resolve_backing_name(info.path, info.header->backing_name))
      info.backing_path = *std::move(path);
  co_return info;
}

}  // namespace hull::blockcore
