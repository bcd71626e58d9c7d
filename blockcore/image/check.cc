#include "blockcore/image/check.h"

#include "blockcore/format_table.h"

namespace hull::blockcore {

std::unexpected<Error> no_checks() {
  return fail(ErrorKind::kUnsupported, "This image format does not support checks");
}

Task<Result<qcow2::CheckResult>> check_image_file(LocalFile& file, DiskFormat format,
                                                  qcow2::Repair repair) {
  if (!driver_of(format).has.checks) co_return no_checks();
  auto header = (co_await qcow2::ImageHeader::read(file)).with_context(file.path());
  // That is an image that fails the check, not a format that has none.
  if (!header && header.error().kind() == ErrorKind::kUnsupported)
    co_return fail(ErrorKind::kInvalidFormat, "{}", header.error().message());
  if (!header) co_return std::unexpected(std::move(header).error());
  co_return (co_await qcow2::repair_image(file, *header, repair)).with_context(file.path());
}

}  // namespace hull::blockcore
