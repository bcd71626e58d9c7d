#include "blockcore/nbd/client.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/checked.h"
#include "blockcore/iovecs.h"

namespace hull::blockcore::nbd {

namespace {

// Content chunks of one read, and extents of one answer, before a server is thought mad.
constexpr size_t kMaxPieces = 65'536;
constexpr uint32_t kMaxMessageBytes = kMaxStringBytes + 64;

std::unexpected<Error> lie(std::string_view what) {
  return fail(ErrorKind::kInvalidFormat, "the server breaks the protocol: {}", what);
}

// Errors on the wire are Linux's numbers; one that means nothing here is EIO.
int to_errno(uint32_t error) {
  switch (static_cast<WireError>(error)) {
    case WireError::kPermission: return EPERM;
    case WireError::kNoMemory: return ENOMEM;
    case WireError::kInvalid: return EINVAL;
    case WireError::kNoSpace: return ENOSPC;
    case WireError::kOverflow: return EOVERFLOW;
    case WireError::kNotSupported: return EOPNOTSUPP;
    case WireError::kShutdown: return ESHUTDOWN;
    default: return EIO;
  }
}

}  // namespace

std::shared_ptr<Client> Client::create(IoEngine& engine, ClientConnection connection,
                                       std::string name) {
  return std::shared_ptr<Client>(new Client(engine, std::move(connection), std::move(name)));
}

Client::Client(IoEngine& engine, ClientConnection connection, std::string name)
    : name_(std::move(name)),
      facts_(connection.facts),
      socket_(std::move(connection.socket)),
      stream_(engine, socket_.get()),
      input_(stream_) {}

Client::~Client() {
  CHECK(in_flight_ == 0 && !receiving_);
  if (lost_) return;
  const RequestHeader goodbye{
      kRequestMagic, uint16_t{0}, static_cast<uint16_t>(Command::kDisconnect),
      uint64_t{0},   uint64_t{0}, uint32_t{0}};
  (void)::send(socket_.get(), &goodbye, sizeof goodbye, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// ---- Requests.

Task<Result<void>> Client::read(uint64_t offset, std::span<const iovec> buffers) {
  Pending pending{.command = Command::kRead,
                  .offset = offset,
                  .length = static_cast<uint32_t>(total_bytes(buffers)),
                  .buffers = buffers,
                  .covered = {},
                  .extents = {},
                  .waiting = {}};
  co_return co_await run(pending, 0, {});
}

Task<Result<void>> Client::write(uint64_t offset, std::span<const iovec> buffers) {
  Pending pending{.command = Command::kWrite,
                  .offset = offset,
                  .length = static_cast<uint32_t>(total_bytes(buffers)),
                  .buffers = {},
                  .covered = {},
                  .extents = {},
                  .waiting = {}};
  co_return co_await run(pending, 0, buffers);
}

Task<Result<void>> Client::command(Command command, uint16_t flags, uint64_t offset,
                                   uint32_t length) {
  Pending pending{.command = command,
                  .offset = offset,
                  .length = length,
                  .buffers = {},
                  .covered = {},
                  .extents = {},
                  .waiting = {}};
  co_return co_await run(pending, flags, {});
}

Task<Result<std::vector<ExtentDescriptor>>> Client::block_status(uint64_t offset, uint32_t length) {
  Pending pending{.command = Command::kBlockStatus,
                  .offset = offset,
                  .length = length,
                  .buffers = {},
                  .covered = {},
                  .extents = {},
                  .waiting = {}};
  CO_TRY_VOID(co_await run(pending, 0, {}));
  co_return std::move(pending.extents);
}

// `pending` lives in the caller's frame: nothing may end here before the last of the socket's
// operations on its buffers has.
Task<Result<void>> Client::run(Pending& pending, uint16_t flags, std::span<const iovec> payload) {
  if (lost_) co_return std::unexpected(*lost_);
  const uint64_t cookie = enter(pending);
  if (!receiving_) start_detached(receive_replies(shared_from_this()));
  const RequestHeader header{kRequestMagic, flags,          static_cast<uint16_t>(pending.command),
                             cookie,        pending.offset, pending.length};
  const Result<void> sent = co_await send(header, payload);
  if (!sent && !lost_) fail_all(sent.error());
  struct Wait {
    Pending& pending;
    bool await_ready() const noexcept { return pending.done; }
    void await_suspend(std::coroutine_handle<> awaiting) const { pending.waiting = awaiting; }
    void await_resume() const noexcept {}
  };
  const Wait wait{pending};
  co_await wait;
  co_return outcome(pending);
}

Task<Result<void>> Client::send(const RequestHeader& header, std::span<const iovec> payload) {
  const AsyncMutex::Guard guard = co_await sending_.lock();
  if (lost_) co_return std::unexpected(*lost_);
  std::vector<iovec> message;
  message.reserve(payload.size() + 1);
  message.push_back({const_cast<RequestHeader*>(&header), sizeof header});
  message.insert(message.end(), payload.begin(), payload.end());
  co_return co_await stream_.send(message);
}

uint64_t Client::enter(Pending& pending) {
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t index = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_[index];
  slot.pending = &pending;
  ++slot.uses;
  ++in_flight_;
  return uint64_t{slot.uses} << 32 | index;
}

Client::Pending* Client::find(uint64_t cookie) {
  const auto index = static_cast<uint32_t>(cookie);
  if (index >= slots_.size() || slots_[index].uses != cookie >> 32) return nullptr;
  return slots_[index].pending;
}

void Client::finish(uint64_t cookie) {
  const auto index = static_cast<uint32_t>(cookie);
  Pending& pending = *std::exchange(slots_[index].pending, nullptr);
  free_slots_.push_back(index);
  --in_flight_;
  pending.done = true;
  if (pending.waiting) pending.waiting.resume();
}

Result<void> Client::outcome(const Pending& pending) const {
  if (pending.error == 0) return {};
  if (lost_) return std::unexpected(*lost_);
  return std::unexpected(
      Error::from_errno(fmt::format("{}: the server says", name_), to_errno(pending.error)));
}

void Client::fail_all(const Error& error) {
  lost_.emplace(error.kind(), fmt::format("{}: {}", name_, error.message()), EIO);
  ::shutdown(socket_.get(), SHUT_RDWR);
}

// ---- Replies.

Task<void> Client::receive_replies(std::shared_ptr<Client> client) {
  client->receiving_ = true;
  while (client->in_flight_ > 0 && !client->lost_) {
    const Result<void> received = co_await client->receive_reply();
    if (!received && !client->lost_) client->fail_all(received.error());
  }
  client->receiving_ = false;
  if (client->lost_) client->end_waiting();
}

// What was waiting for an answer gets none. Nothing new begins meanwhile, for all is lost.
void Client::end_waiting() {
  for (uint32_t index = 0; index < slots_.size(); ++index) {
    if (slots_[index].pending == nullptr) continue;
    slots_[index].pending->error = static_cast<uint32_t>(WireError::kIo);
    finish(uint64_t{slots_[index].uses} << 32 | index);
  }
}

Task<Result<void>> Client::receive_reply() {
  // The shorter kind tells by its magic whether it is the longer one.
  ChunkHeader header;
  static_assert(sizeof(SimpleReplyHeader) < sizeof header);
  const auto bytes = std::as_writable_bytes(std::span(&header, 1));
  CO_TRY_VOID(co_await input_.take(bytes.first(sizeof(SimpleReplyHeader))));
  if (header.magic == kSimpleReplyMagic) {
    SimpleReplyHeader simple;
    std::memcpy(&simple, &header, sizeof simple);
    co_return co_await simple_reply(simple);
  }
  if (header.magic != kStructuredReplyMagic || !facts_.structured_replies)
    co_return lie("a reply with wrong magic");
  CO_TRY_VOID(co_await input_.take(bytes.subspan(sizeof(SimpleReplyHeader))));
  co_return co_await chunk(header);
}

Task<Result<void>> Client::simple_reply(const SimpleReplyHeader& header) {
  Pending* const pending = find(header.cookie);
  if (pending == nullptr) co_return lie("a reply to nothing");
  const bool needs_chunks =
      facts_.structured_replies &&
      (pending->command == Command::kRead || pending->command == Command::kBlockStatus);
  if (needs_chunks) co_return lie("a simple reply where a structured one is due");
  pending->error = header.error;
  if (pending->command == Command::kRead && header.error == 0U)
    CO_TRY_VOID(co_await input_.take(pending->buffers, 0, pending->length));
  finish(header.cookie);
  co_return {};
}

Task<Result<void>> Client::chunk(const ChunkHeader& header) {
  Pending* const pending = find(header.cookie);
  if (pending == nullptr) co_return lie("a reply to nothing");
  const auto type = static_cast<Chunk>(header.type.get());
  const bool last = (header.flags & kChunkDone) != 0;
  if ((header.type & kChunkErrorBit) != 0) {
    CO_TRY_VOID(co_await error_chunk(*pending, header.length));
  } else if (type == Chunk::kNone) {
    if (header.length != 0U || !last) co_return lie("a malformed end of a reply");
  } else if (type == Chunk::kOffsetData) {
    CO_TRY_VOID(co_await data_chunk(*pending, header.length));
  } else if (type == Chunk::kOffsetHole) {
    CO_TRY_VOID(co_await hole_chunk(*pending, header.length));
  } else if (type == Chunk::kBlockStatus) {
    CO_TRY_VOID(co_await status_chunk(*pending, header.length));
  } else {
    co_return lie("an unknown kind of reply");
  }
  if (!last) co_return {};
  if (pending->error == 0) CO_TRY_VOID(check_covered(*pending));
  finish(header.cookie);
  co_return {};
}

Task<Result<void>> Client::data_chunk(Pending& pending, uint32_t length) {
  Be64 offset;
  if (length <= sizeof offset) co_return lie("data of no length");
  CO_TRY_VOID(co_await input_.take(std::as_writable_bytes(std::span(&offset, 1))));
  const uint32_t count = length - uint32_t{sizeof offset};
  CO_TRY_VOID(cover(pending, offset, count));
  co_return co_await input_.take(pending.buffers, offset - pending.offset, count);
}

Task<Result<void>> Client::hole_chunk(Pending& pending, uint32_t length) {
  struct Hole {
    Be64 offset;
    Be32 length;
  } hole;
  static_assert(sizeof hole == 12);
  if (length != sizeof hole) co_return lie("a malformed hole");
  CO_TRY_VOID(co_await input_.take(std::as_writable_bytes(std::span(&hole, 1))));
  if (hole.length == 0U) co_return lie("a hole of no length");
  CO_TRY_VOID(cover(pending, hole.offset, hole.length));
  zero_iovecs(pending.buffers, hole.offset - pending.offset, hole.length);
  co_return {};
}

// Of the range that was asked for, and no byte twice: what no chunk covers must not pass for data.
Result<void> Client::cover(Pending& pending, uint64_t begin, uint64_t length) {
  if (pending.command != Command::kRead) return lie("data that nobody asked for");
  if (begin < pending.offset ||
      !range_fits<uint64_t>(begin - pending.offset, length, pending.length))
    return lie("data outside the range that it was asked for");
  auto& covered = pending.covered;
  if (!covered.empty() && covered.back().second == begin)
    covered.back().second += length;
  else if (covered.size() == kMaxPieces)
    return lie("a read in countless pieces");
  else
    covered.emplace_back(begin, begin + length);
  return {};
}

Result<void> Client::check_covered(Pending& pending) {
  if (pending.command == Command::kBlockStatus && pending.extents.empty())
    return lie("a block status without extents");
  if (pending.command != Command::kRead) return {};
  std::sort(pending.covered.begin(), pending.covered.end());
  uint64_t end = pending.offset;
  for (const auto& [begin, piece_end] : pending.covered) {
    if (begin != end) return lie("a read with gaps or overlaps");
    end = piece_end;
  }
  if (end != pending.offset + pending.length) return lie("a read that is too short");
  return {};
}

Task<Result<void>> Client::status_chunk(Pending& pending, uint32_t length) {
  if (pending.command != Command::kBlockStatus || !pending.extents.empty())
    co_return lie("a block status that nobody asked for");
  Be32 context;
  const uint32_t rest = length - uint32_t{sizeof context};
  if (length <= sizeof context || rest % sizeof(ExtentDescriptor) != 0 ||
      rest / sizeof(ExtentDescriptor) > 2 * kMaxPieces)
    co_return lie("a malformed block status");
  CO_TRY_VOID(co_await input_.take(std::as_writable_bytes(std::span(&context, 1))));
  if (context != facts_.allocation_context) co_return lie("a context that nobody asked for");
  std::vector<ExtentDescriptor> extents(rest / sizeof(ExtentDescriptor));
  CO_TRY_VOID(co_await input_.take(std::as_writable_bytes(std::span(extents))));
  // "the sum of the lengths of the descriptors MUST not be greater than the length of the original
  // request"; some servers go beyond with the last one.
  uint64_t total = 0;
  for (const ExtentDescriptor& extent : extents) {
    if (extent.length == 0U || total >= pending.length) co_return lie("extents without measure");
    total += extent.length;
  }
  pending.extents = std::move(extents);
  co_return {};
}

Task<Result<void>> Client::error_chunk(Pending& pending, uint32_t length) {
  struct ErrorHead {
    Be32 error;
    Be16 message_length;
  } head;
  static_assert(sizeof head == 6);
  if (length < sizeof head || length > kMaxMessageBytes) co_return lie("a malformed error");
  CO_TRY_VOID(co_await input_.take(std::as_writable_bytes(std::span(&head, 1))));
  const uint32_t rest = length - uint32_t{sizeof head};
  if (head.error == 0U || head.message_length > rest) co_return lie("a malformed error");
  std::array<std::byte, kMaxMessageBytes> ignored;
  CO_TRY_VOID(co_await input_.take(std::span(ignored).first(rest)));
  pending.error = head.error;
  co_return {};
}

}  // namespace hull::blockcore::nbd
