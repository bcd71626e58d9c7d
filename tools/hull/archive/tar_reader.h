// Reads the list of what is in a tar archive: ustar, pax and GNU's long names. The archive is
// hostile: everything is bounded by its own size and by the limits below, and nothing is opened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "tools/hull/archive/tar_header.h"

namespace hull::cli {

struct TarEntry {
  enum class Kind : uint8_t { kFile, kDirectory, kSymbolicLink, kHardLink, kOther };
  Kind kind = Kind::kOther;  // kOther: devices, pipes, sparse files
  std::string name, target;  // any bytes, also ".." and "/"
  uint32_t mode = 0;         // permission bits
  int64_t mtime = 0;         // seconds since 1970
  uint64_t size = 0;         // of a file
  uint64_t data_at = 0;      // where in the archive it begins; all of it is there
};

class TarReader {
 public:
  static constexpr uint64_t kMaxEntries = 1'000'000;
  static constexpr uint64_t kMaxExtension = 64u << 10;  // a long name, or a pax header

  // `fd` is borrowed; the archive is its first `bytes` bytes, or less.
  TarReader(int fd, uint64_t bytes) : fd_(fd), bytes_(bytes) {}

  // Nothing: that was all. kInvalidFormat: it is damaged, or is no archive; kIo.
  Result<std::optional<TarEntry>> next();

 private:
  struct Extension {
    std::optional<std::string> name, target;
    std::optional<uint64_t> size;
    bool sparse = false;
  };
  Result<bool> read_header(TarHeader& header);
  Result<std::string> read_extension(uint64_t size);
  Result<void> take_pax(const std::string& records, Extension& extension);
  Result<TarEntry> entry_of(const TarHeader& header, Extension extension);

  int fd_;
  uint64_t bytes_;
  uint64_t at_ = 0;
  uint64_t entries_ = 0;
};

}  // namespace hull::cli
