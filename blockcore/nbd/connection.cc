#include "blockcore/nbd/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/checked.h"
#include "base/log.h"

namespace hull::blockcore::nbd {

namespace {

constexpr size_t kRepliesPerSend = 64;
constexpr uint32_t kWarmStepBytes = 256 << 10;
constexpr size_t kMaxExtents = 2048;  // of one context in one reply

bool changes_data(Command command) {
  return command == Command::kWrite || command == Command::kTrim ||
         command == Command::kWriteZeroes;
}

WireError wire_error(const Error& error) {
  if (error.kind() == ErrorKind::kNoSpace) return WireError::kNoSpace;
  if (error.kind() == ErrorKind::kUnsupported) return WireError::kNotSupported;
  switch (error.error_number()) {
    case EPERM:
    case EROFS: return WireError::kPermission;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return WireError::kNoSpace;
    case ENOMEM: return WireError::kNoMemory;
    default: return WireError::kIo;
  }
}

// What the client may know: names of files are none of its business.
std::string_view describe(WireError error) {
  switch (error) {
    case WireError::kPermission: return "the export is read-only";
    case WireError::kInvalid: return "the request is not valid";
    case WireError::kNoSpace: return "no space left, or past the end of the export";
    case WireError::kOverflow: return "the request is too long";
    case WireError::kNotSupported: return "not supported here";
    case WireError::kShutdown: return "the server is shutting down";
    default: return "the operation failed";
  }
}

void append_chunk(std::string& head, uint64_t cookie, Chunk type, bool last, size_t length) {
  append_bytes(head,
               ChunkHeader{kStructuredReplyMagic, last ? kChunkDone : uint16_t{0},
                           static_cast<uint16_t>(type), cookie, static_cast<uint32_t>(length)});
}

}  // namespace

Connection::~Connection() { CHECK(!running_ && !sending_ && in_flight_ == 0); }

Task<void> Connection::run() {
  running_ = true;
  ServerHandshake handshake(stream_, export_);
  auto negotiated = co_await handshake.run();
  if (!negotiated) LOG_DEBUG("nbd: handshake: {}", negotiated.error().message());
  if (negotiated && *negotiated) {
    negotiated_ = **std::move(negotiated);
    co_await serve();
  }
  ::shutdown(socket_.get(), SHUT_RDWR);
  running_ = false;
}

Task<void> Connection::serve() {
  RequestHeader header;
  while (!finishing_) {
    const auto received = co_await input_.take(std::as_writable_bytes(std::span(&header, 1)));
    if (!received) break;
    if (header.magic != kRequestMagic) {
      LOG_DEBUG("nbd: a request with wrong magic");
      broken_ = true;
      break;
    }
    if (static_cast<Command>(header.command.get()) == Command::kDisconnect) break;
    const bool accepted = co_await accept(header);
    if (!accepted) break;
  }
  if (broken_) drop_replies();
  while (in_flight_ > 0 || sending_) co_await change();
}

void Connection::finish() {
  finishing_ = true;
  ::shutdown(socket_.get(), negotiated() ? SHUT_RD : SHUT_RDWR);
}

void Connection::hang_up() {
  finishing_ = true;
  broken_ = true;
  ::shutdown(socket_.get(), SHUT_RDWR);
  if (!sending_) drop_replies();
}

// ---- What comes in.

// False: the connection is to be ended.
Task<bool> Connection::accept(const RequestHeader& header) {
  Request request{.command = static_cast<Command>(header.command.get()),
                  .flags = header.flags,
                  .cookie = header.cookie,
                  .offset = header.offset,
                  .length = header.length,
                  .error = WireError::kNone,
                  .data = nullptr,
                  .payload_bytes = 0};
  request.error = check(request);
  if (request.error == WireError::kNone) request.payload_bytes = held_bytes(request);
  while (!broken_ &&
         (in_flight_ >= kMaxRequests || payload_bytes_ + request.payload_bytes > kMaxPayloadBytes))
    co_await change();
  if (broken_) co_return false;
  ++in_flight_;
  payload_bytes_ += request.payload_bytes;
  if (request.command == Command::kWrite) {
    const auto received = co_await receive_data(request);
    if (!received) {
      --in_flight_;
      payload_bytes_ -= request.payload_bytes;
      co_return false;
    }
  }
  start_detached(process(std::move(request)));
  co_return true;
}

// What the request makes us hold until its reply is sent.
uint32_t Connection::held_bytes(const Request& request) const {
  switch (request.command) {
    case Command::kRead:
    case Command::kWrite: return request.length;
    case Command::kCache: return std::min(request.length, kWarmStepBytes);
    case Command::kBlockStatus:
      return static_cast<uint32_t>(std::min<uint64_t>(
          negotiated_->contexts.size() * kMaxExtents * sizeof(ExtentDescriptor), kMaxPayloadBytes));
    default: return 0;
  }
}

Task<Result<void>> Connection::receive_data(Request& request) {
  // What is refused still has to be got out of the way.
  if (request.error != WireError::kNone) co_return co_await input_.skip(request.length);
  request.data = std::make_unique_for_overwrite<std::byte[]>(request.length);
  co_return co_await input_.take({request.data.get(), request.length});
}

uint16_t Connection::allowed_flags(Command command) const {
  switch (command) {
    case Command::kRead:
      return negotiated_->structured_replies ? kCommandFua | kCommandDf : kCommandFua;
    case Command::kWriteZeroes: return kCommandFua | kCommandNoHole | kCommandFastZero;
    case Command::kBlockStatus: return kCommandFua | kCommandReqOne;
    default: return kCommandFua;
  }
}

// Ordered as QEMU does it: permission, then range, then flags.
WireError Connection::check(const Request& request) const {
  switch (request.command) {
    case Command::kRead:
    case Command::kWrite:
    case Command::kTrim:
    case Command::kCache:
    case Command::kWriteZeroes:
    case Command::kBlockStatus: break;
    case Command::kFlush:
      return (request.flags & ~kCommandFua) == 0 ? WireError::kNone : WireError::kInvalid;
    default: return WireError::kInvalid;
  }
  if (changes_data(request.command) && !export_.writable()) return WireError::kPermission;
  if ((request.command == Command::kRead || request.command == Command::kWrite) &&
      request.length > kMaxDataBytes)
    return WireError::kInvalid;
  if (!range_fits<uint64_t>(request.offset, request.length, export_.disk->size_bytes()))
    return request.command == Command::kWrite || request.command == Command::kWriteZeroes
               ? WireError::kNoSpace
               : WireError::kInvalid;
  if ((request.flags & ~allowed_flags(request.command)) != 0) return WireError::kInvalid;
  if (request.command == Command::kBlockStatus &&
      (negotiated_->contexts.empty() || request.length == 0))
    return WireError::kInvalid;
  return WireError::kNone;
}

// ---- What is done.

Task<void> Connection::process(Request request) {
  Reply reply;
  reply.payload_bytes = request.payload_bytes;
  WireError error = request.error;
  if (error == WireError::kNone) {
    const auto done = co_await execute(request, reply);
    if (!done) {
      error = wire_error(done.error());
      if (error != WireError::kNotSupported)
        LOG_LIMITED(LogLevel::kError, "nbd: {}", done.error().message());
    }
  }
  answer(request, reply, error);
  request.data.reset();
  if (!broken_) {
    outgoing_.push_back(std::move(reply));
    co_return;
  }
  retire(reply);
  wake();
}

Task<Result<void>> Connection::execute(Request& request, Reply& reply) {
  Disk& disk = *export_.disk;
  if (request.command == Command::kFlush) co_return co_await disk.flush();
  if (request.length == 0) co_return {};
  switch (request.command) {
    case Command::kRead: co_return co_await read(request, reply);
    case Command::kCache: co_return co_await warm_cache(request);
    case Command::kBlockStatus: co_return co_await block_status(request, reply);
    case Command::kWriteZeroes: CO_TRY_VOID(co_await write_zeroes(request)); break;
    case Command::kTrim: CO_TRY_VOID(co_await disk.discard(request.offset, request.length)); break;
    case Command::kWrite: {
      const iovec buffer{request.data.get(), request.length};
      CO_TRY_VOID(co_await disk.write(request.offset, {&buffer, 1}));
      break;
    }
    default: break;
  }
  if ((request.flags & kCommandFua) != 0) co_return co_await disk.flush();
  co_return {};
}

Task<Result<void>> Connection::read(Request& request, Reply& reply) {
  reply.data = std::make_unique_for_overwrite<std::byte[]>(request.length);
  const iovec buffer{reply.data.get(), request.length};
  CO_TRY_VOID(co_await export_.disk->read(request.offset, {&buffer, 1}));
  reply.data_bytes = request.length;
  co_return {};
}

// NBD_CMD_FLAG_FAST_ZERO asks for an error rather than for writing zeros one by one; whether the
// layers below will do that is not known before it is done.
Task<Result<void>> Connection::write_zeroes(const Request& request) {
  if ((request.flags & kCommandFastZero) != 0)
    co_return fail(ErrorKind::kUnsupported, "fast zeroing");
  co_return co_await export_.disk->write_zeroes(request.offset, request.length,
                                                (request.flags & kCommandNoHole) == 0);
}

// Reading is what brings data into the host's page cache.
Task<Result<void>> Connection::warm_cache(const Request& request) {
  const auto scratch =
      std::make_unique_for_overwrite<std::byte[]>(std::min(request.length, kWarmStepBytes));
  for (uint32_t done = 0; done < request.length;) {
    const uint32_t step = std::min(request.length - done, kWarmStepBytes);
    const iovec buffer{scratch.get(), step};
    CO_TRY_VOID(co_await export_.disk->read(request.offset + done, {&buffer, 1}));
    done += step;
    if (broken_) break;
  }
  co_return {};
}

// One chunk for each context that was agreed upon.
Task<Result<void>> Connection::block_status(const Request& request, Reply& reply) {
  const size_t most = (request.flags & kCommandReqOne) != 0 ? 1 : kMaxExtents;
  for (const uint32_t index : negotiated_->contexts) {
    CO_TRY(const std::vector<ExtentDescriptor> extents,
           co_await export_.contexts[index]->extents(request.offset, request.length, most));
    append_chunk(reply.head, request.cookie, Chunk::kBlockStatus,
                 index == negotiated_->contexts.back(),
                 sizeof(Be32) + extents.size() * sizeof(ExtentDescriptor));
    append_bytes(reply.head, Be32(index));
    for (const ExtentDescriptor& extent : extents) append_bytes(reply.head, extent);
  }
  co_return {};
}

// ---- What goes out.

// "a simple reply MAY be used as a reply to any request other than NBD_CMD_READ" that has no
// payload, also with structured replies.
void Connection::answer(const Request& request, Reply& reply, WireError error) {
  if (error != WireError::kNone) {
    answer_error(request, reply, error);
  } else if (request.command == Command::kBlockStatus) {
    // Complete already.
  } else if (request.command != Command::kRead || !negotiated_->structured_replies) {
    append_bytes(reply.head, SimpleReplyHeader{kSimpleReplyMagic, 0U, request.cookie});
  } else if (request.length == 0) {
    append_chunk(reply.head, request.cookie, Chunk::kNone, true, 0);
  } else {
    append_chunk(reply.head, request.cookie, Chunk::kOffsetData, true,
                 sizeof(Be64) + request.length);
    append_bytes(reply.head, Be64(request.offset));
  }
}

void Connection::answer_error(const Request& request, Reply& reply, WireError error) const {
  const auto number = static_cast<uint32_t>(error);
  reply.head.clear();
  reply.data.reset();
  reply.data_bytes = 0;
  if (!negotiated_->structured_replies) {
    append_bytes(reply.head, SimpleReplyHeader{kSimpleReplyMagic, number, request.cookie});
    return;
  }
  const std::string_view text = describe(error);
  append_chunk(reply.head, request.cookie, Chunk::kError, true,
               sizeof(Be32) + sizeof(Be16) + text.size());
  append_bytes(reply.head, Be32(number));
  append_bytes(reply.head, Be16(static_cast<uint16_t>(text.size())));
  reply.head += text;
}

void Connection::send_replies() {
  CHECK(!sending_);
  sending_ = true;
  start_detached(send_loop());
}

Task<void> Connection::send_loop() {
  while (!outgoing_.empty() && !broken_) {
    const size_t count = std::min(outgoing_.size(), kRepliesPerSend);
    std::vector<iovec> buffers;
    buffers.reserve(2 * count);
    for (size_t i = 0; i < count; ++i) {
      Reply& reply = outgoing_[i];
      buffers.push_back({reply.head.data(), reply.head.size()});
      if (reply.data_bytes != 0) buffers.push_back({reply.data.get(), reply.data_bytes});
    }
    if (!co_await stream_.send(buffers)) {
      broken_ = true;
      ::shutdown(socket_.get(), SHUT_RDWR);
      break;
    }
    for (size_t i = 0; i < count; ++i) {
      retire(outgoing_.front());
      outgoing_.pop_front();
    }
    wake();
  }
  sending_ = false;
  if (broken_) drop_replies();
  wake();
}

void Connection::drop_replies() {
  if (sending_) return;  // the loop that sends them does it
  for (const Reply& reply : outgoing_) retire(reply);
  outgoing_.clear();
  wake();
}

void Connection::retire(const Reply& reply) {
  --in_flight_;
  payload_bytes_ -= reply.payload_bytes;
}

void Connection::wake() {
  if (waiting_) std::exchange(waiting_, {}).resume();
}

}  // namespace hull::blockcore::nbd
