#include "blockcore/nbd/stream.h"

#include <algorithm>
#include <climits>

#include "base/endian.h"
#include "blockcore/engine/iovecs.h"

namespace hull::blockcore::nbd {

Task<Result<void>> Stream::receive(std::span<std::byte> data) {
  while (!data.empty()) {
    const iovec buffer{data.data(), data.size()};
    const int64_t got = co_await engine_.receive(socket_, {&buffer, 1}, true);
    if (got == 0) co_return fail(ErrorKind::kIo, "the other end has closed the connection");
    if (got < 0) co_return std::unexpected(Error::from_errno("receive", static_cast<int>(-got)));
    data = data.subspan(static_cast<size_t>(got));
    received_bytes_ += static_cast<uint64_t>(got);
  }
  co_return {};
}

Task<Result<size_t>> Stream::receive_some(std::span<std::byte> data) {
  const iovec buffer{data.data(), data.size()};
  const int64_t got = co_await engine_.receive(socket_, {&buffer, 1}, false);
  if (got < 0) co_return std::unexpected(Error::from_errno("receive", static_cast<int>(-got)));
  received_bytes_ += static_cast<uint64_t>(got);
  co_return static_cast<size_t>(got);
}

Task<Result<void>> Stream::send(std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  uint64_t done = 0;
  while (done < total) {
    const IovecPart rest(buffers, done, total - done, IOV_MAX);
    const int64_t sent = co_await engine_.send(socket_, rest.buffers());
    if (sent < 0) co_return std::unexpected(Error::from_errno("send", static_cast<int>(-sent)));
    done += static_cast<uint64_t>(sent);
    sent_bytes_ += static_cast<uint64_t>(sent);
  }
  co_return {};
}

Task<Result<void>> Stream::send(std::string message) {
  const iovec buffer{message.data(), message.size()};
  co_return co_await send({&buffer, 1});
}

// What is left is less than the buffer when it is filled again, so that large data is not copied.
Task<Result<void>> InputBuffer::take(std::span<std::byte> data) {
  for (;;) {
    const size_t here = std::min(data.size(), end_ - begin_);
    if (here != 0) std::memcpy(data.data(), bytes_.data() + begin_, here);
    begin_ += here;
    data = data.subspan(here);
    if (data.empty()) co_return {};
    begin_ = end_ = 0;
    if (data.size() >= bytes_.size()) co_return co_await stream_.receive(data);
    CO_TRY(end_, co_await stream_.receive_some(bytes_));
    if (end_ == 0) co_return fail(ErrorKind::kIo, "the other end has closed the connection");
  }
}

Task<Result<void>> InputBuffer::take(std::span<const iovec> buffers, uint64_t offset,
                                     uint64_t length) {
  const IovecPart part(buffers, offset, length);
  for (const iovec& piece : part.buffers())
    CO_TRY_VOID(co_await take({static_cast<std::byte*>(piece.iov_base), piece.iov_len}));
  co_return {};
}

Task<Result<void>> InputBuffer::skip(uint64_t length) {
  while (length > 0) {
    if (begin_ == end_) {
      begin_ = end_ = 0;
      CO_TRY(end_, co_await stream_.receive_some(bytes_));
      if (end_ == 0) co_return fail(ErrorKind::kIo, "the other end has closed the connection");
    }
    const uint64_t step = std::min<uint64_t>(length, end_ - begin_);
    begin_ += step;
    length -= step;
  }
  co_return {};
}

bool MessageReader::read_string(std::string_view& text) {
  Be32 length;
  if (!read(length) || length > rest_.size()) return false;
  text = rest_.substr(0, length);
  rest_.remove_prefix(length);
  return true;
}

}  // namespace hull::blockcore::nbd
