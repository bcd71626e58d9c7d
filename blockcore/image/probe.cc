#include "blockcore/image/probe.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/endian.h"

namespace hull::blockcore {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::string_view format;  // as qemu-img calls it
  size_t offset;
  std::string_view bytes;
};

constexpr Magic kForeign[] = {
    {"vmdk", 0, "KDMV"sv},
    {"vmdk", 0, "COWD"sv},
    {"vmdk", 0, "# Disk DescriptorFile"sv},
    {"vdi", 64, "\x7f\x10\xda\xbe"sv},
    {"vhdx", 0, "vhdxfile"sv},
    {"vpc", 0, "conectix"sv},
    {"qed", 0, "QED\0"sv},
    {"parallels", 0, "WithoutFreeSpace"sv},
    {"parallels", 0, "WithouFreSpacExt"sv},
    {"luks", 0, "LUKS\xba\xbe"sv},
    {"bochs", 0, "Bochs Virtual HD Image\0"sv},
    {"cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"sv},
};
constexpr std::string_view kQcow2 = "QFI\xfb"sv;
// Of a dmg, whose data comes first.
constexpr std::string_view kDmg = "koly"sv;

std::unexpected<Error> cannot_open(std::string_view path, std::string_view format) {
  return fail(ErrorKind::kUnsupported,
              "{}: looks like an image in the format '{}', which hull does not open: convert it "
              "with qemu-img, or say -f raw if its bytes are the disk",
              path, format);
}

}  // namespace

Result<DiskFormat> format_of(std::string_view path, std::string_view start,
                             std::string_view trailer) {
  if (start.starts_with(kQcow2)) return DiskFormat::kQcow2;
  for (const Magic& magic : kForeign)
    if (start.size() > magic.offset && start.substr(magic.offset).starts_with(magic.bytes))
      return cannot_open(path, magic.format);
  if (trailer.starts_with(kDmg)) return cannot_open(path, "dmg");
  return DiskFormat::kRaw;
}

bool names_other_files(std::string_view start) {
  struct Header {  // of qcow2: what it begins with
    Be32 magic;
    Be32 version;
    Be64 backing_file_offset;
    uint8_t between[56];
    Be64 incompatible_features;  // from version 3 on
  };
  static_assert(sizeof(Header) == 80);
  constexpr uint64_t kExternalDataFile = 1u << 2;
  Header header{};
  std::memcpy(&header, start.data(), std::min(start.size(), sizeof header));
  return header.backing_file_offset != 0 ||
         (header.version >= 3 && (header.incompatible_features & kExternalDataFile) != 0);
}

Task<Result<DiskFormat>> probe_format(File& file) {
  std::array<char, kProbeStartBytes> start{};
  const iovec start_buffer{start.data(), start.size()};
  CO_TRY_VOID(co_await file.read_or_zero(0, {&start_buffer, 1}));
  std::array<char, kDmg.size()> trailer{};
  const iovec trailer_buffer{trailer.data(), trailer.size()};
  if (file.size_bytes() >= kProbeTrailerBytes)
    CO_TRY_VOID(
        co_await file.read_or_zero(file.size_bytes() - kProbeTrailerBytes, {&trailer_buffer, 1}));
  co_return format_of(file.path(), {start.data(), start.size()}, {trailer.data(), trailer.size()});
}

}  // namespace hull::blockcore
