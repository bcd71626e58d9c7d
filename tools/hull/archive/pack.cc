#include "tools/hull/archive/pack.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "tools/hull/archive/tar_header.h"

namespace hull::cli {

namespace {

constexpr size_t kReadBytes = 1u << 20;
constexpr uint64_t kDiskAlignment = 4096;  // a disk has whole sectors, of any size in use
constexpr size_t kMaxPackedPath = PATH_MAX - 1;

class Packer {
 public:
  Packer(int out, std::stop_token stop)
      : out_(out), stop_(std::move(stop)), buffer_(kReadBytes, '\0') {}

  Result<void> add_directory(int directory, const std::string& prefix) {
    for (const std::string& name : TRY(names_in(directory, prefix)))
      TRY(add(directory, name, prefix + name));
    return {};
  }

  // Two blocks of zeros and more: POSIX.1-2017, pax, "ustar Interchange Format".
  Result<Packed> finish() {
    const uint64_t end = packed_.bytes + 2 * kTarBlock;
    const uint64_t rest =
        (end + kDiskAlignment - 1) / kDiskAlignment * kDiskAlignment - packed_.bytes;
    TRY(put(std::string(rest, '\0')));
    return packed_;
  }

 private:
  static Result<std::vector<std::string>> names_in(int directory, const std::string& where) {
    const auto failed = [&] { return std::unexpected(Error::from_errno("read '" + where + "'")); };
    const int own = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (own < 0) return failed();
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(own), ::closedir);
    if (!stream) {
      const UniqueFd unused(own);
      return failed();
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* const entry = ::readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    if (errno != 0) return failed();
    std::sort(names.begin(), names.end());  // the same archive each time
    return names;
  }

  Result<void> add(int directory, const std::string& name, const std::string& path) {
    if (stop_.stop_requested()) return fail(ErrorKind::kTimeout, "called off");
    if (path.size() > kMaxPackedPath)
      return fail(ErrorKind::kOutOfRange, "'{}' lies too deep", path.substr(0, 60) + "...");
    struct stat status{};
    if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      return std::unexpected(Error::from_errno("'" + path + "'"));
    TarHeader header{.name = path, .mode = status.st_mode, .mtime = status.st_mtime};
    if (S_ISREG(status.st_mode)) return add_file(directory, name, header);
    if (S_ISDIR(status.st_mode)) {
      header.name += '/';
      header.type = '5';
      TRY(put_header(header));
      const UniqueFd inner(
          ::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!inner.valid()) return std::unexpected(Error::from_errno("open '" + path + "'"));
      return add_directory(inner.get(), path + "/");
    }
    if (S_ISLNK(status.st_mode)) {
      header.target.resize(PATH_MAX);
      const ssize_t length =
          ::readlinkat(directory, name.c_str(), header.target.data(), header.target.size());
      if (length < 0) return std::unexpected(Error::from_errno("read the link '" + path + "'"));
      header.target.resize(static_cast<size_t>(length));
      header.type = '2';
      return put_header(header);
    }
    ++packed_.left_out;
    return {};
  }

  Result<void> add_file(int directory, const std::string& name, TarHeader header) {
    // Somebody may have put a pipe in its place.
    const UniqueFd file(
        ::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status{};
    if (!file.valid() || ::fstat(file.get(), &status) != 0)
      return std::unexpected(Error::from_errno("open '" + header.name + "'"));
    header.size = static_cast<uint64_t>(status.st_size);
    TRY(put_header(header));
    uint64_t left = header.size;
    while (left != 0) {
      if (stop_.stop_requested()) return fail(ErrorKind::kTimeout, "called off");
      const size_t wanted = std::min<uint64_t>(left, buffer_.size());
      ssize_t got = ::read(file.get(), buffer_.data(), wanted);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return std::unexpected(Error::from_errno("read '" + header.name + "'"));
      if (got == 0)
        return fail(ErrorKind::kIo, "'{}' became shorter while it was read", header.name);
      TRY(put(std::string_view(buffer_).substr(0, static_cast<size_t>(got))));
      left -= static_cast<uint64_t>(got);
    }
    return put(std::string(in_blocks(header.size) - header.size, '\0'));
  }

  // GNU's long names, which every tar reads; busybox's does not know those of pax.
  Result<void> put_long(char type, const std::string& text) {
    const std::string whole = text + std::string(in_blocks(text.size() + 1) - text.size(), '\0');
    const TarBlock block = encode({.name = "././@LongLink", .size = text.size() + 1, .type = type});
    TRY(put(std::string_view(block.data(), block.size())));
    return put(whole);
  }

  Result<void> put_header(TarHeader header) {
    ++packed_.entries;
    if (!tar_target_fits(header.target)) {
      TRY(put_long('K', header.target));
      header.target.clear();
    }
    if (!tar_name_fits(header.name)) {
      TRY(put_long('L', header.name));
      header.name.resize(1);
    }
    const TarBlock block = encode(header);
    return put(std::string_view(block.data(), block.size()));
  }

  Result<void> put(std::string_view bytes) {
    TRY(write_all_at(out_, std::as_bytes(std::span(bytes)), packed_.bytes));
    packed_.bytes += bytes.size();
    return {};
  }

  int out_;
  std::stop_token stop_;
  std::string buffer_;
  Packed packed_;
};

}  // namespace

Result<Packed> pack_directory(const std::string& directory, int fd, std::stop_token stop) {
  const UniqueFd root = TRY(open_file(directory, O_RDONLY | O_DIRECTORY));
  Packer packer(fd, std::move(stop));
  TRY(packer.add_directory(root.get(), "").with_context(directory));
  return packer.finish();
}

}  // namespace hull::cli
