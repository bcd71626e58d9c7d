#include "tools/hull/named_image.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "blockcore/format_table.h"
#include "blockcore/image/probe.h"
#include "config/network_source.h"
#include "tools/hull/run_options.h"

namespace hull::cli {

namespace {

constexpr size_t kSectorBytes = 512;

// At most `length` bytes; fewer at the end of the file.
Result<std::string> bytes_at(const UniqueFd& file, off_t offset, size_t length) {
  std::string bytes(length, '\0');
  const ssize_t got = ::pread(file.get(), bytes.data(), bytes.size(), offset);
  if (got < 0) return std::unexpected(Error::from_errno("read"));
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

// Without waiting for whoever should write to a FIFO of this name.
Result<UniqueFd> open_to_look(const std::string& path) {
  return open_file(path, O_RDONLY | O_NONBLOCK);
}

bool is_stream(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode);
}

std::string_view without_mark(std::string_view text) {
  constexpr std::string_view kUtf8Mark = "\xef\xbb\xbf";
  if (text.starts_with(kUtf8Mark)) text.remove_prefix(kUtf8Mark.size());
  return text;
}

Result<blockcore::DiskFormat> format_of_file(const std::string& path) {
  const UniqueFd file = TRY(open_to_look(path));
  const std::string start = TRY(bytes_at(file, 0, blockcore::kProbeStartBytes).with_context(path));
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  constexpr auto kTrailer = static_cast<off_t>(blockcore::kProbeTrailerBytes);
  const std::string trailer =
      size < kTrailer ? ""
                      : TRY(bytes_at(file, size - kTrailer, blockcore::kProbeTrailerMagicBytes)
                                .with_context(path));
  const blockcore::DiskFormat format = TRY(blockcore::format_of(path, start, trailer));
  const std::string_view name = blockcore::driver_of(format).name;
  if (blockcore::names_other_files(start) && !path.ends_with(fmt::format(".{}", name)))
    return fail(ErrorKind::kUsage,
                "{}: begins like a {} image that names other files, which a guest could have "
                "written: say --disk {},format={}, or format=raw",
                path, name, path, name);
  return format;
}

}  // namespace

Result<bool> is_document(const std::string& path) {
  if (path == "-") return true;
  if (path.empty()) return fail(ErrorKind::kUsage, "run: which file?");
  if (config::is_nbd_url(path)) return false;
  // Looked at by its name: who opens a FIFO and goes away again takes what its writer has begun.
  if (is_stream(path)) return true;
  const UniqueFd file = TRY(open_to_look(path));
  constexpr size_t kFirstBytes = 4096;
  const std::string first = TRY(bytes_at(file, 0, kFirstBytes).with_context(path));
  if (first.starts_with("\xff\xfe") || first.starts_with("\xfe\xff")) return true;  // UTF-16
  const std::string_view text = without_mark(first);
  const size_t at = text.find_first_not_of(" \t\r\n");
  // No disk is smaller than a sector: what is wrong with the text is then for its parser to say.
  return first.size() < kSectorBytes || (at != std::string_view::npos && text[at] == '<');
}

Result<config::DiskConfig> disk_of_image(const std::string& path) {
  config::DiskConfig disk;
  if (config::is_nbd_url(path)) {
    disk.file = path;
    return disk;
  }
  disk.file = TRY(absolute_path(path));
  disk.format = TRY(format_of_file(path));
  disk.cdrom = disk.read_only =
      path.ends_with(".iso") && !blockcore::driver_of(disk.format).has.metadata;
  return disk;
}

Result<void> check_boot_sector(const config::DiskConfig& disk) {
  if (blockcore::driver_of(disk.format).has.metadata || config::is_nbd_url(disk.file)) return {};
  const UniqueFd file = TRY(open_to_look(disk.file));
  const std::string sector = TRY(bytes_at(file, 0, kSectorBytes).with_context(disk.file));
  if (sector.ends_with("\x55\xaa")) return {};
  return fail(ErrorKind::kUsage,
              "{}: neither a domain document nor an image that a BIOS starts: its first sector is "
              "no boot sector (--kernel FILE starts a kernel instead; --disk FILE takes it as it "
              "is)",
              disk.file);
}

}  // namespace hull::cli
