#include "blockcore/secret.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/unique_fd.h"

namespace hull::blockcore {

Result<Secret> Secret::zeros(size_t size_bytes) {
  Mapping memory = TRY(Mapping::anonymous(std::max<size_t>(size_bytes, 1)));
  if (::madvise(memory.data(), memory.size(), MADV_DONTDUMP) != 0)
    return std::unexpected(Error::from_errno("madvise of key material"));
  // RLIMIT_MEMLOCK may forbid it; then the host's swap space has to be trusted.
  (void)::mlock(memory.data(), memory.size());
  return Secret(std::move(memory), size_bytes);
}

Result<Secret> Secret::read_file(const std::string& path) {
  const UniqueFd fd = TRY(open_file(path, O_RDONLY));
  return read_fd(fd.get(), path);
}

Result<Secret> Secret::read_fd(int fd, const std::string& name) {
  Secret secret = TRY(zeros(kMaxBytes + 1));
  size_t length = 0;
  while (length < secret.size_bytes()) {
    const ssize_t got = ::read(fd, secret.data() + length, secret.size_bytes() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(Error::from_errno(name + ": read"));
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  if (length > kMaxBytes)
    return fail(ErrorKind::kOutOfRange, "{}: a secret has at most {} bytes", name, kMaxBytes);
  secret.truncate(length);
  return secret;
}

Result<Secret> Secret::copy(std::span<const std::byte> bytes) {
  Secret secret = TRY(zeros(bytes.size()));
  std::ranges::copy(bytes, secret.bytes().begin());
  return secret;
}

Secret::~Secret() {
  if (memory_.size() != 0) ::explicit_bzero(memory_.data(), memory_.size());
}

void Secret::truncate(size_t size_bytes) {
  CHECK(size_bytes <= size_bytes_);
  size_bytes_ = size_bytes;
}

}  // namespace hull::blockcore
