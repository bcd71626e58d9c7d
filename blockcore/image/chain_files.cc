#include "blockcore/image/chain_files.h"

#include <sys/stat.h>

#include <algorithm>

#include "blockcore/backing_name.h"
#include "blockcore/image/probe.h"
#include "blockcore/nbd/url.h"
#include "blockcore/qcow2/format/image_header.h"

namespace hull::blockcore {
namespace {

bool holds(std::span<const ChainFile> files, FileIdentity identity) {
  return std::ranges::find(files, identity, &ChainFile::identity) != files.end();
}

// Adds the image and its data file; gives the header if there may be more below.
Task<std::optional<qcow2::Header>> add_level(IoEngine& engine, const std::string& path,
                                             std::optional<DiskFormat> format,
                                             std::vector<ChainFile>& files) {
  const auto file = LocalFile::open(engine, path, {.read_only = true});
  if (!file || holds(files, (*file)->identity())) co_return std::nullopt;
  files.push_back({path, (*file)->identity()});
  if (!format) {
    const auto probed = co_await probe_format(**file);
    if (!probed) co_return std::nullopt;
    format = *probed;
  }
  if (*format != DiskFormat::kQcow2) co_return std::nullopt;
  const auto header = co_await qcow2::ImageHeader::read(**file);
  if (!header) co_return std::nullopt;
  if ((*header)->has_data_file()) {
    const auto data = resolve_data_file_name(path, (*header)->data_file_name());
    const auto identity = data ? identity_of(*data) : std::nullopt;
    if (identity) files.push_back({*data, *identity});
  }
  co_return **header;
}

}  // namespace

std::optional<FileIdentity> identity_of(const std::string& path) {
  struct stat facts{};
  if (::stat(path.c_str(), &facts) != 0) return std::nullopt;
  if (S_ISBLK(facts.st_mode)) return FileIdentity{.device = facts.st_rdev, .inode = 0};
  return FileIdentity{.device = facts.st_dev, .inode = facts.st_ino};
}

Task<std::vector<ChainFile>> chain_files(IoEngine& engine, std::string path,
                                         std::optional<DiskFormat> format) {
  std::vector<ChainFile> files;
  while (!nbd::is_url(path)) {
    const auto header = co_await add_level(engine, path, format, files);
    if (!header || header->backing_name.empty()) break;
    auto below = resolve_backing_name(path, header->backing_name);
    if (!below) break;
    path = *std::move(below);
    format = header->backing_format == "raw" ? std::optional(DiskFormat::kRaw) : std::nullopt;
  }
  co_return files;
}

Task<std::vector<ChainFile>> written_files(IoEngine& engine, std::string path,
                                           std::optional<DiskFormat> format) {
  std::vector<ChainFile> files;
  if (!nbd::is_url(path)) (void)co_await add_level(engine, path, format, files);
  co_return files;
}

Result<void> check_apart(const std::string& path, FileIdentity target,
                         std::span<const ChainFile> files) {
  const auto found = std::ranges::find(files, target, &ChainFile::identity);
  if (found == files.end()) return {};
  return fail(ErrorKind::kInvalidConfig,
              "{}: is the same file as '{}', which is read: nothing was changed", path,
              found->path);
}

Result<void> check_apart(std::span<const ChainFile> targets, std::span<const ChainFile> files) {
  for (const ChainFile& target : targets) TRY(check_apart(target.path, target.identity, files));
  return {};
}

Result<void> check_apart(const std::string& path, std::span<const ChainFile> files) {
  const auto identity = identity_of(path);
  return identity ? check_apart(path, *identity, files) : Result<void>();
}

}  // namespace hull::blockcore
