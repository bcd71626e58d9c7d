// The files that reading an image takes, by their identities: what is made or changed must not be
// one of them, whatever its name is.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blockcore/engine/io_engine.h"
#include "blockcore/file/local_file.h"
#include "blockcore/open.h"

namespace hull::blockcore {

struct ChainFile {
  std::string path;
  FileIdentity identity;
};

// The image, its data file, and the same of everything below it. Takes no locks and never fails:
// what cannot be opened (a URL, a damaged image) ends the list, and whoever opens it says why.
// `format` absent: as the first bytes have it.
Task<std::vector<ChainFile>> chain_files(IoEngine& engine, std::string path,
                                         std::optional<DiskFormat> format);

// Only the image itself and its data file: what writing to it changes.
Task<std::vector<ChainFile>> written_files(IoEngine& engine, std::string path,
                                           std::optional<DiskFormat> format);

// Of the regular file or block device at `path`; nullopt: there is none.
std::optional<FileIdentity> identity_of(const std::string& path);

// kInvalidConfig if `target` is one of `files`.
Result<void> check_apart(const std::string& path, FileIdentity target,
                         std::span<const ChainFile> files);
// The same of each of `targets`.
Result<void> check_apart(std::span<const ChainFile> targets, std::span<const ChainFile> files);
// The same of the file at `path`, if there is one.
Result<void> check_apart(const std::string& path, std::span<const ChainFile> files);

}  // namespace hull::blockcore
