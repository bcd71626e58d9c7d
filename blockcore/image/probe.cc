#include "blockcore/image/probe.h"

#include <array>
#include <string_view>

#include "blockcore/format_table.h"

namespace hull::blockcore {

Result<DiskFormat> format_of(std::string_view path, std::string_view start,
                             std::string_view trailer) {
  const FormatDriver* const driver = recognise_format(start, trailer);
  if (driver == nullptr) return DiskFormat::kRaw;
  if (driver->format) return *driver->format;
  return fail(ErrorKind::kUnsupported,
              "{}: looks like an image in the format '{}', which hull does not open: convert it "
              "with qemu-img, or say -f raw if its bytes are the disk",
              path, driver->name);
}

bool names_other_files(std::string_view start) {
  const FormatDriver* const driver = recognise_format(start, {});
  return driver != nullptr && driver->names_other_files != nullptr &&
         driver->names_other_files(start);
}

Task<Result<DiskFormat>> probe_format(File& file) {
  std::array<char, kProbeStartBytes> start{};
  const iovec start_buffer{start.data(), start.size()};
  CO_TRY_VOID(co_await file.read_or_zero(0, {&start_buffer, 1}));
  std::array<char, kProbeTrailerMagicBytes> trailer{};
  const iovec trailer_buffer{trailer.data(), trailer.size()};
  if (file.size_bytes() >= kProbeTrailerBytes)
    CO_TRY_VOID(
        co_await file.read_or_zero(file.size_bytes() - kProbeTrailerBytes, {&trailer_buffer, 1}));
  co_return format_of(file.path(), {start.data(), start.size()}, {trailer.data(), trailer.size()});
}

}  // namespace hull::blockcore
