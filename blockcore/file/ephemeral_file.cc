#include "blockcore/file/ephemeral_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace hull::blockcore {

namespace {

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<UniqueFd> create_and_unlink(const std::string& directory) {
  std::string name = directory + "/.hull-XXXXXX";
  const int fd = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0)
    return std::unexpected(Error::from_errno(fmt::format("create a file in '{}'", directory)));
  UniqueFd file(fd);
  if (::unlink(name.c_str()) < 0)
    return std::unexpected(Error::from_errno(fmt::format("remove '{}'", name)));
  return file;
}

}  // namespace

Result<UniqueFd> create_ephemeral_file(const std::string& directory) {
  // O_EXCL: nobody can give it a name later.
  auto opened = open_file(directory, O_TMPFILE | O_RDWR | O_EXCL, 0600);
  if (opened) return opened;
  // EISDIR comes from kernels and file systems that take it for a plain open.
  const int error = opened.error().error_number();
  if (error == EOPNOTSUPP || error == EISDIR || error == EINVAL)
    return create_and_unlink(directory);
  return opened;
}

Result<UniqueFd> create_ephemeral_file_near(const std::string& neighbour) {
  const char* const chosen = std::getenv("TMPDIR");
  if (chosen != nullptr && *chosen != '\0') return create_ephemeral_file(chosen);
  auto beside = create_ephemeral_file(directory_of(neighbour));
  if (beside) return beside;
  auto elsewhere = create_ephemeral_file("/var/tmp");
  return elsewhere ? std::move(elsewhere) : std::move(beside);
}

}  // namespace hull::blockcore
