#include "blockcore/nbd/stream.h"

#include <algorithm>
#include <climits>

#include "base/endian.h"
#include "blockcore/iovecs.h"

namespace hull::blockcore::nbd {

Task<Result<void>> Stream::receive(std::span<std::byte> data) {
  while (!data.empty()) {
    const iovec buffer{data.data(), data.size()};
    const int64_t got = co_await engine_.receive(socket_, {&buffer, 1}, true);
    if (got == 0) co_return fail(ErrorKind::kIo, "the other end has closed the connection");
    if (got < 0) co_return std::unexpected(Error::from_errno("receive", static_cast<int>(-got)));
    data = data.subspan(static_cast<size_t>(got));
  }
  co_return {};
}

Task<Result<size_t>> Stream::receive_some(std::span<std::byte> data) {
  const iovec buffer{data.data(), data.size()};
  const int64_t got = co_await engine_.receive(socket_, {&buffer, 1}, false);
  if (got < 0) co_return std::unexpected(Error::from_errno("receive", static_cast<int>(-got)));
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
  }
  co_return {};
}

Task<Result<void>> Stream::send(std::string message) {
  const iovec buffer{message.data(), message.size()};
  co_return co_await send({&buffer, 1});
}

bool MessageReader::read_string(std::string_view& text) {
  Be32 length;
  if (!read(length) || length > rest_.size()) return false;
  text = rest_.substr(0, length);
  rest_.remove_prefix(length);
  return true;
}

}  // namespace hull::blockcore::nbd
