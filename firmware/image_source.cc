#include "firmware/image_source.h"

#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "base/checked.h"

namespace hull::firmware {

Result<ImageSource> ImageSource::open(const std::string& path) {
  // O_NONBLOCK: a FIFO is refused below instead of waiting for its writer.
  return from_fd(TRY(open_file(path, O_RDONLY | O_NONBLOCK)), path);
}

Result<ImageSource> ImageSource::from_fd(UniqueFd fd, std::string name) {
  struct stat status;
  if (::fstat(fd.get(), &status) != 0)
    return std::unexpected(Error::from_errno("fstat").with_context(name));
  if (!S_ISREG(status.st_mode))
    return fail(ErrorKind::kInvalidFormat, "{}: not a regular file", name);
  return ImageSource(std::move(fd), {}, static_cast<uint64_t>(status.st_size), std::move(name));
}

ImageSource ImageSource::of_bytes(std::span<const std::byte> bytes, std::string name) {
  return ImageSource(UniqueFd(), bytes, bytes.size(), std::move(name));
}

Result<void> ImageSource::check_range(uint64_t offset, uint64_t length) const {
  if (range_fits(offset, length, size_)) return {};
  return fail(ErrorKind::kInvalidFormat,
              "truncated: {} bytes are needed at offset {:#x}, the file has {:#x}", length, offset,
              size_);
}

Result<void> ImageSource::read(uint64_t offset, std::span<std::byte> destination) const {
  TRY(check_range(offset, destination.size()));
  if (fd_.valid()) return read_exact_at(fd_.get(), destination, offset);
  const auto source = bytes_.subspan(offset, destination.size());
  std::copy(source.begin(), source.end(), destination.begin());
  return {};
}

Result<void> ImageSource::load(uint64_t offset, const GuestSlice& destination) const {
  TRY(check_range(offset, destination.size()));
  if (!fd_.valid()) {
    const auto source = bytes_.subspan(offset, destination.size());
    destination.copy_from({reinterpret_cast<const uint8_t*>(source.data()), source.size()});
    return {};
  }
  size_t done = 0;
  while (done < destination.size()) {
    const iovec rest = destination.subslice(done, destination.size() - done).as_iovec();
    const ssize_t count = ::preadv(fd_.get(), &rest, 1, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected(Error::from_errno("read"));
    if (count == 0) return fail(ErrorKind::kInvalidFormat, "the file shrank while it was read");
    done += static_cast<size_t>(count);
  }
  return {};
}

}  // namespace hull::firmware
