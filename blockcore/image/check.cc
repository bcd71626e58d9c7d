#include "blockcore/image/check.h"

namespace hull::blockcore {

Task<Result<qcow2::CheckResult>> check_image_file(LocalFile& file, DiskFormat format) {
  if (format != DiskFormat::kQcow2)
    co_return fail(ErrorKind::kUnsupported, "This image format does not support checks");
  auto header = (co_await qcow2::ImageHeader::read(file)).with_context(file.path());
  if (!header) co_return std::unexpected(std::move(header).error());
  if (((*header)->incompatible & qcow2::kIncompatibleDataFile) != 0)
    co_return fail(ErrorKind::kUnsupported,
                   "{}: hull cannot check images with an external data file", file.path());
  co_return (co_await qcow2::check_image(file, **header)).with_context(file.path());
}

}  // namespace hull::blockcore
