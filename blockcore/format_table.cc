#include "blockcore/format_table.h"

#include <algorithm>

#include "base/check.h"
#include "blockcore/qcow2/driver.h"

namespace hull::blockcore {
namespace {

using namespace std::string_view_literals;

constexpr FormatDriver kRaw{.name = "raw", .format = DiskFormat::kRaw};

// Formats that are recognised, so that nobody takes their containers for raw disks.
constexpr FormatMagic kVmdkMagics[] = {
    {0, "KDMV"sv}, {0, "COWD"sv}, {0, "# Disk DescriptorFile"sv}};
constexpr FormatDriver kVmdk{.name = "vmdk", .magics = kVmdkMagics};
constexpr FormatMagic kVdiMagics[] = {{64, "\x7f\x10\xda\xbe"sv}};
constexpr FormatDriver kVdi{.name = "vdi", .magics = kVdiMagics};
constexpr FormatMagic kVhdxMagics[] = {{0, "vhdxfile"sv}};
constexpr FormatDriver kVhdx{.name = "vhdx", .magics = kVhdxMagics};
constexpr FormatMagic kVpcMagics[] = {{0, "conectix"sv}};
constexpr FormatDriver kVpc{.name = "vpc", .magics = kVpcMagics};
constexpr FormatMagic kQedMagics[] = {{0, "QED\0"sv}};
constexpr FormatDriver kQed{.name = "qed", .magics = kQedMagics};
constexpr FormatMagic kParallelsMagics[] = {{0, "WithoutFreeSpace"sv}, {0, "WithouFreSpacExt"sv}};
constexpr FormatDriver kParallels{.name = "parallels", .magics = kParallelsMagics};
constexpr FormatMagic kLuksMagics[] = {{0, "LUKS\xba\xbe"sv}};
constexpr FormatDriver kLuks{.name = "luks", .magics = kLuksMagics};
constexpr FormatMagic kBochsMagics[] = {{0, "Bochs Virtual HD Image\0"sv}};
constexpr FormatDriver kBochs{.name = "bochs", .magics = kBochsMagics};
constexpr FormatMagic kCloopMagics[] = {{0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"sv}};
constexpr FormatDriver kCloop{.name = "cloop", .magics = kCloopMagics};
constexpr FormatDriver kDmg{.name = "dmg", .trailer_magic = "koly"sv};

constexpr const FormatDriver* kTable[] = {&kRaw,   &qcow2::kDriver, &kVmdk,      &kVdi,
                                          &kVhdx,  &kVpc,           &kQed,       &kLuks,
                                          &kBochs, &kCloop,         &kParallels, &kDmg};

bool begins_like(const FormatDriver& driver, std::string_view start, std::string_view trailer) {
  if (!driver.trailer_magic.empty() && trailer.starts_with(driver.trailer_magic)) return true;
  return std::ranges::any_of(driver.magics, [start](const FormatMagic& magic) {
    return start.size() > magic.offset && start.substr(magic.offset).starts_with(magic.bytes);
  });
}

}  // namespace

FormatTable format_table() { return kTable; }

const FormatDriver* find_format(std::string_view name, FormatTable table) {
  const auto found = std::ranges::find(table, name, &FormatDriver::name);
  return found == table.end() ? nullptr : *found;
}

const FormatDriver& driver_of(DiskFormat format) {
  const FormatTable table = format_table();
  const auto found = std::ranges::find(table, std::optional(format), &FormatDriver::format);
  CHECK(found != table.end());
  return **found;
}

Result<DiskFormat> parse_format(std::string_view name, FormatTable table) {
  const FormatDriver* const driver = find_format(name, table);
  if (driver == nullptr) return fail(ErrorKind::kUsage, "Unknown file format '{}'", name);
  if (driver->format) return *driver->format;
  return fail(
      ErrorKind::kUnsupported,
      "file format '{}' is not supported yet (hull has {}): convert the image with qemu-img", name,
      openable_formats(" and ", table));
}

std::string openable_formats(std::string_view between, FormatTable table) {
  std::string names;
  for (const FormatDriver* const driver : table) {
    if (!driver->format) continue;
    if (!names.empty()) names += between;
    names += driver->name;
  }
  return names;
}

const FormatDriver* recognise_format(std::string_view start, std::string_view trailer,
                                     FormatTable table) {
  const auto found = std::ranges::find_if(table, [start, trailer](const FormatDriver* driver) {
    return begins_like(*driver, start, trailer);
  });
  return found == table.end() ? nullptr : *found;
}

}  // namespace hull::blockcore
