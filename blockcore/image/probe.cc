#include "blockcore/image/probe.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

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
constexpr size_t kStartBytes = 128;
// Of a dmg, whose data comes first.
constexpr std::string_view kDmg = "koly"sv;
constexpr uint64_t kDmgTrailerBytes = 512;

std::unexpected<Error> cannot_open(const File& file, std::string_view format) {
  return fail(ErrorKind::kUnsupported,
              "{}: looks like an image in the format '{}', which hull does not open: convert it "
              "with qemu-img, or say -f raw if its bytes are the disk",
              file.path(), format);
}

}  // namespace

Task<Result<DiskFormat>> probe_format(File& file) {
  std::array<char, kStartBytes> bytes{};
  const iovec buffer{bytes.data(), bytes.size()};
  CO_TRY_VOID(co_await file.read_or_zero(0, {&buffer, 1}));
  const std::string_view start(bytes.data(), bytes.size());
  if (start.starts_with(kQcow2)) co_return DiskFormat::kQcow2;
  for (const Magic& magic : kForeign)
    if (start.substr(magic.offset).starts_with(magic.bytes))
      co_return cannot_open(file, magic.format);
  if (file.size_bytes() < kDmgTrailerBytes) co_return DiskFormat::kRaw;
  const iovec trailer{bytes.data(), kDmg.size()};
  CO_TRY_VOID(co_await file.read_or_zero(file.size_bytes() - kDmgTrailerBytes, {&trailer, 1}));
  if (std::string_view(bytes.data(), kDmg.size()) == kDmg) co_return cannot_open(file, "dmg");
  co_return DiskFormat::kRaw;
}

}  // namespace hull::blockcore
