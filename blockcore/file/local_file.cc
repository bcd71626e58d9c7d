#include "blockcore/file/local_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "base/checked.h"
#include "base/log.h"

namespace hull::blockcore {

namespace {

bool is_direct_mode(CacheMode cache) {
  return cache == CacheMode::kNone || cache == CacheMode::kDirectsync;
}

std::unexpected<Error> direct_refused(const std::string& path) {
  return fail(ErrorKind::kInvalidConfig,
              "{}: the file system does not do O_DIRECT, which cache modes none and directsync "
              "need; use writeback or writethrough",
              path);
}

const char* kind_of_file(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISCHR(mode)) return "a character device";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "of an unknown kind";
}

// Of copy_file_range: two file systems, one that cannot, a device, a swap file, a kernel without
// it.
bool is_refusal(int64_t result) {
  return result == -EXDEV || result == -EOPNOTSUPP || result == -ENOSYS || result == -EINVAL ||
         result == -ETXTBSY;
}

}  // namespace

Result<std::unique_ptr<LocalFile>> LocalFile::open(IoEngine& engine, const std::string& path,
                                                   const LocalFileOptions& options) {
  // O_NONBLOCK: a FIFO in the image's place must not hang us before fstat() sees it.
  int flags = (options.read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK | O_NOCTTY;
  if (options.create) flags |= O_CREAT | O_EXCL;
  if (is_direct_mode(options.cache)) flags |= O_DIRECT;
  auto opened = open_file(path, flags, 0644);
  if (!opened) {
    if (opened.error().error_number() == EINVAL && is_direct_mode(options.cache))
      return direct_refused(path);
    return std::unexpected(std::move(opened).error());
  }
  return adopt(engine, *std::move(opened), path, options);
}

Result<std::unique_ptr<LocalFile>> LocalFile::adopt(IoEngine& engine, UniqueFd fd,
                                                    const std::string& path,
                                                    const LocalFileOptions& options) {
  auto file = std::unique_ptr<LocalFile>(new LocalFile(engine, std::move(fd), path, options));
  TRY(file->learn_identity());
  if (options.admit) TRY(options.admit(file->identity_));
  if (options.lock) TRY(file->take_lock(*options.lock));
  TRY(file->learn_facts());
  return file;
}

LocalFile::LocalFile(IoEngine& engine, UniqueFd fd, std::string path,
                     const LocalFileOptions& options)
    : engine_(engine),
      fd_(std::move(fd)),
      path_(std::move(path)),
      cache_(options.cache),
      read_only_(options.read_only) {}

LocalFile::~LocalFile() = default;

// What no other program can change.
Result<void> LocalFile::learn_identity() {
  struct stat facts;
  if (::fstat(fd_.get(), &facts) < 0)
    return std::unexpected(Error::from_errno(fmt::format("{}: fstat", path_)));
  block_device_ = S_ISBLK(facts.st_mode);
  if (!block_device_ && !S_ISREG(facts.st_mode))
    return fail(ErrorKind::kInvalidConfig, "{}: is {}, not a regular file or block device", path_,
                kind_of_file(facts.st_mode));
  // open(2) for writing succeeds all the same, and each write would fail.
  int is_read_only = 0;
  if (block_device_ && !read_only_ && ::ioctl(fd_.get(), BLKROGET, &is_read_only) == 0 &&
      is_read_only != 0)
    return std::unexpected(Error(
        ErrorKind::kIo,
        fmt::format("{}: the device is not writable; readonly=on (run), -r (nbd) take it as it is",
                    path_),
        EACCES));
  if (block_device_)
    identity_ = {.device = facts.st_rdev, .inode = 0};
  else
    identity_ = {.device = facts.st_dev, .inode = facts.st_ino};
  return {};
}

Result<void> LocalFile::take_lock(const LockRequest& request) {
  const LockOutcome outcome = TRY(lock_image_patiently(fd_.get(), path_, request));
  if (outcome == LockOutcome::kUnsupported && request.write)
    LOG_WARN("{}: its file system has no locks: nothing keeps other programs from changing it",
             path_);
  return {};
}

Result<void> LocalFile::learn_facts() {
  // Also clears O_NONBLOCK, with which io_uring would report EAGAIN instead of waiting.
  const bool direct = is_direct_mode(cache_);
  if (::fcntl(fd_.get(), F_SETFL, direct ? O_DIRECT : 0) < 0) {
    if (direct && errno == EINVAL) return direct_refused(path_);
    return std::unexpected(Error::from_errno(fmt::format("{}: set flags", path_)));
  }
  if (block_device_) {
    int block_bytes = 0;
    if (::ioctl(fd_.get(), BLKGETSIZE64, &size_bytes_) < 0 ||
        ::ioctl(fd_.get(), BLKSSZGET, &block_bytes) < 0)
      return std::unexpected(Error::from_errno(fmt::format("{}: get size of device", path_)));
    zeroing_alignment_bytes_ = static_cast<uint32_t>(block_bytes);
  } else {
    size_bytes_ = TRY(length_now());
  }
  return direct ? learn_alignment() : Result<void>();
}

Result<void> LocalFile::learn_alignment() {
  uint32_t alignment = block_device_ ? zeroing_alignment_bytes_ : 4096;
#ifdef STATX_DIOALIGN
  struct statx facts{};
  if (::statx(fd_.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &facts) == 0 &&
      (facts.stx_mask & STATX_DIOALIGN) != 0) {
    if (facts.stx_dio_offset_align == 0) return direct_refused(path_);
    alignment = std::max(facts.stx_dio_offset_align, facts.stx_dio_mem_align);
  }
#endif
  if (alignment > BouncePool::kBufferBytes || (alignment & (alignment - 1)) != 0)
    return fail(ErrorKind::kUnsupported, "{}: O_DIRECT needs an alignment of {} bytes", path_,
                alignment);
  alignment_bytes_ = std::max<uint32_t>(alignment, 512);
  bounce_ = std::make_unique<BouncePool>(alignment_bytes_);
  return {};
}

Result<uint64_t> LocalFile::length_now() const {
  struct stat facts;
  if (::fstat(fd_.get(), &facts) < 0)
    return std::unexpected(Error::from_errno(fmt::format("{}: fstat", path_)));
  return static_cast<uint64_t>(facts.st_size);
}

std::unexpected<Error> LocalFile::failure(std::string_view what, uint64_t offset,
                                          int64_t result) const {
  std::string where = fmt::format("{}: {} at {:#x}", path_, what, offset);
  if (result == -EINVAL && is_direct()) where += " with O_DIRECT";
  return std::unexpected(Error::from_errno(where, static_cast<int>(-result)));
}

RangeLock::Range LocalFile::blocks_of(uint64_t offset, uint64_t length) const {
  return {align_down<uint64_t>(offset, alignment_bytes_),
          align_up<uint64_t>(offset + length, alignment_bytes_) - 1};
}

void LocalFile::grow_to(uint64_t end_bytes) { size_bytes_ = std::max(size_bytes_, end_bytes); }

Result<void> LocalFile::check_writable(uint64_t offset, uint64_t length) const {
  CHECK(range_fits<uint64_t>(offset, length, INT64_MAX));
  if (read_only_) return fail(ErrorKind::kIo, "{}: write to a file opened read-only", path_);
  if (block_device_ && offset + length > size_bytes_)
    return fail(ErrorKind::kOutOfRange, "{}: write at {:#x} reaches past the end of the device",
                path_, offset);
  return {};
}

Task<Result<void>> LocalFile::transfer_in(uint64_t offset, std::span<const iovec> buffers,
                                          AtEnd at_end) {
  const uint64_t total = total_bytes(buffers);
  CHECK(range_fits<uint64_t>(offset, total, INT64_MAX));
  if (is_direct() && needs_bounce(offset, total, buffers))
    co_return co_await read_bounced(offset, buffers, at_end);
  if (total == 0) co_return {};
  if (buffers.size() > IOV_MAX) co_return co_await read_rest(offset, buffers, 0, at_end);
  const int64_t got = co_await engine_.readv(fd_.get(), buffers, offset);
  if (got < 0) co_return failure("read", offset, got);
  if (static_cast<uint64_t>(got) == total) co_return {};
  co_return co_await read_rest(offset, buffers, static_cast<uint64_t>(got), at_end);
}

Task<Result<void>> LocalFile::read_rest(uint64_t offset, std::span<const iovec> buffers,
                                        uint64_t done, AtEnd at_end) {
  const uint64_t total = total_bytes(buffers);
  while (done < total) {
    // With O_DIRECT the rest must begin on a block: what stands before it is read again.
    const uint64_t again = done % alignment_bytes_;
    done -= again;
    const IovecPart rest(buffers, done, total - done, IOV_MAX);
    const int64_t got = co_await engine_.readv(fd_.get(), rest.buffers(), offset + done);
    if (got < 0) co_return failure("read", offset + done, got);
    done += static_cast<uint64_t>(got);
    if (static_cast<uint64_t>(got) > again) continue;
    if (at_end == AtEnd::kFail)
      co_return fail(ErrorKind::kOutOfRange, "{}: read at {:#x}: end of file, {} bytes missing",
                     path_, offset, total - done);
    zero_iovecs(buffers, done, total - done);
    co_return {};
  }
  co_return {};
}

Task<Result<void>> LocalFile::write(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  CO_TRY_VOID(check_writable(offset, total));
  if (total == 0) co_return {};
  std::optional<RangeLock::Hold> hold;
  if (is_direct()) {
    hold.emplace(changing_, blocks_of(offset, total));
    while (WaitList* before = hold->before()) co_await before->wait();
    if (needs_bounce(offset, total, buffers)) co_return co_await write_bounced(offset, buffers);
  }
  const CountWhileAlive beyond(writes_beyond_, offset + total > size_bytes_);
  if (buffers.size() > IOV_MAX) co_return co_await write_rest(offset, buffers, 0);
  const int64_t put = co_await engine_.writev(fd_.get(), buffers, offset);
  if (static_cast<uint64_t>(put) == total) {
    grow_to(offset + total);
    co_return {};
  }
  if (put < 0) co_return write_failure(offset, put);
  co_return co_await write_rest(offset, buffers, static_cast<uint64_t>(put));
}

Task<Result<void>> LocalFile::write_rest(uint64_t offset, std::span<const iovec> buffers,
                                         uint64_t done) {
  const uint64_t total = total_bytes(buffers);
  while (done < total) {
    const uint64_t again = done % alignment_bytes_;
    done -= again;
    const IovecPart rest(buffers, done, total - done, IOV_MAX);
    int64_t put = co_await engine_.writev(fd_.get(), rest.buffers(), offset + done);
    if (put >= 0 && static_cast<uint64_t>(put) <= again) put = -EIO;
    if (put < 0) co_return write_failure(offset + done, put);
    done += static_cast<uint64_t>(put);
  }
  grow_to(offset + total);
  co_return {};
}

// With O_DIRECT nothing may pass through the page cache, as what cannot share its blocks would.
Task<Result<uint64_t>> LocalFile::copy_from(const File& source, uint64_t source_offset,
                                            uint64_t offset, uint64_t length) {
  CO_TRY_VOID(check_writable(offset, length));
  CHECK(range_fits<uint64_t>(source_offset, length, INT64_MAX));
  const int source_fd = source.copy_source_fd();
  if (source_fd < 0 || is_direct()) co_return co_await File::copy_from(source, 0, 0, 0);
  const CountWhileAlive beyond(writes_beyond_, offset + length > size_bytes_);
  uint64_t done = 0;
  while (done < length) {
    const int64_t copied = co_await engine_.copy_range(source_fd, source_offset + done, fd_.get(),
                                                       offset + done, length - done);
    if (copied < 0 && done == 0 && is_refusal(copied))
      co_return co_await File::copy_from(source, 0, 0, 0);
    if (copied <= 0) break;
    done += static_cast<uint64_t>(copied);
  }
  grow_to(offset + done);
  co_return done;
}

// A failed write may have stored a part, and that may lie past the end we know of.
std::unexpected<Error> LocalFile::write_failure(uint64_t offset, int64_t result) {
  if (!block_device_)
    if (const auto length = length_now()) grow_to(*length);
  return failure("write", offset, result);
}

Task<Result<void>> LocalFile::flush() {
  if (read_only_ || cache_ == CacheMode::kUnsafe) co_return {};
  if (flush_error_ == 0) {
    const int64_t result = co_await engine_.data_sync(fd_.get());
    if (result == -ECANCELED) co_return failure("flush", 0, result);
    // The kernel reports a lost write once and forgets it; we do not.
    if (result < 0 && flush_error_ == 0) flush_error_ = static_cast<int>(-result);
  }
  if (flush_error_ == 0) co_return {};
  co_return std::unexpected(Error::from_errno(
      fmt::format("{}: flush (earlier writes may be lost)", path_), flush_error_));
}

Result<void> LocalFile::extend_to(uint64_t size_bytes) {
  TRY(check_writable(0, size_bytes));
  if (block_device_ || size_bytes <= size_bytes_) return {};
  // ftruncate() would cut a file that is longer than we know.
  grow_to(TRY(length_now()));
  if (size_bytes <= size_bytes_) return {};
  return set_size(size_bytes);
}

Result<void> LocalFile::cut_to(uint64_t size_bytes) {
  TRY(check_writable(0, std::min(size_bytes, size_bytes_)));
  if (size_bytes >= size_bytes_) return {};
  if (block_device_)
    return fail(ErrorKind::kUnsupported, "{}: the size of a device is fixed", path_);
  return set_size(size_bytes);
}

Result<void> LocalFile::set_size(uint64_t size_bytes) {
  int result;
  do {
    result = ::ftruncate(fd_.get(), static_cast<off_t>(size_bytes));
  } while (result < 0 && errno == EINTR);
  if (result < 0)
    return std::unexpected(
        Error::from_errno(fmt::format("{}: set size to {} bytes", path_, size_bytes)));
  size_bytes_ = size_bytes;
  return {};
}

}  // namespace hull::blockcore
