#include "blockcore/nbd/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "base/log.h"

namespace hull::blockcore::nbd {

namespace {

constexpr size_t kRepliesPerSend = 64;
constexpr uint64_t kReceiveStepBytes = 1 << 20;

// nullptr: the host has no memory, or the process may have no more (ulimit -v).
std::unique_ptr<std::byte[]> make_payload(uint32_t bytes) {
  return std::unique_ptr<std::byte[]>(new (std::nothrow) std::byte[bytes]);
}

}  // namespace

Connection::~Connection() { CHECK(!running_ && !sending_ && in_flight_ == 0); }

Task<void> Connection::run() {
  running_ = true;
  ServerHandshake handshake(stream_, export_, admission_);
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
  ended_ = true;
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
  ServerRequest request(header);
  request.error = check_request(request, export_, *negotiated_);
  if (request.error == WireError::kNone) request.payload_bytes = held_bytes(request, *negotiated_);
  while (!broken_ && !may_hold(request.payload_bytes)) co_await change();
  if (broken_) {
    budget_.leave(this);
    co_return false;
  }
  ++in_flight_;
  payload_bytes_ += request.payload_bytes;
  if (request.command == Command::kWrite) {
    receiving_data_ = true;
    const auto received = co_await receive_data(request);
    receiving_data_ = false;
    if (!received) {
      retire(request.payload_bytes);
      co_return false;
    }
  }
  start_detached(process(std::move(request)));
  co_return true;
}

bool Connection::may_hold(uint32_t bytes) {
  return in_flight_ < kMaxRequests && payload_bytes_ + bytes <= kMaxPayloadBytes &&
         budget_.take(this, bytes);
}

void Connection::try_again() { wake(); }

// In steps, so that a client who is slow is told from one who has stopped.
Task<Result<void>> Connection::receive_data(ServerRequest& request) {
  if (request.error == WireError::kNone) {
    request.data = make_payload(request.length);
    if (request.data == nullptr) request.error = WireError::kNoMemory;
  }
  // What is refused still has to be got out of the way.
  if (request.error != WireError::kNone) co_return co_await input_.skip(request.length);
  for (uint64_t done = 0; done < request.length;) {
    const uint64_t step = std::min(request.length - done, kReceiveStepBytes);
    CO_TRY_VOID(co_await input_.take({request.data.get() + done, step}));
    done += step;
  }
  co_return {};
}

// ---- What is done.

Task<void> Connection::process(ServerRequest request) {
  ServerReply reply;
  reply.payload_bytes = request.payload_bytes;
  WireError error = request.error;
  if (error == WireError::kNone) {
    const auto done = co_await execute(request, reply);
    if (!done) {
      error = wire_error(done.error());
      if (error != WireError::kNotSupported)
        LOG_LIMITED(LogLevel::kError, "nbd", "nbd: {}", done.error().message());
    }
  }
  complete_reply(reply, request, error, negotiated_->structured_replies);
  request.data.reset();
  if (!broken_) {
    outgoing_.push_back(std::move(reply));
    co_return;
  }
  retire(reply.payload_bytes);
  wake();
}

Task<Result<void>> Connection::execute(ServerRequest& request, ServerReply& reply) {
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

Task<Result<void>> Connection::read(ServerRequest& request, ServerReply& reply) {
  reply.data = make_payload(request.length);
  if (reply.data == nullptr) co_return std::unexpected(Error::from_errno("read", ENOMEM));
  const iovec buffer{reply.data.get(), request.length};
  CO_TRY_VOID(co_await export_.disk->read(request.offset, {&buffer, 1}));
  reply.data_bytes = request.length;
  co_return {};
}

// NBD_CMD_FLAG_FAST_ZERO asks for an error rather than for writing zeros one by one; whether the
// layers below will do that is not known before it is done.
Task<Result<void>> Connection::write_zeroes(const ServerRequest& request) {
  if ((request.flags & kCommandFastZero) != 0)
    co_return fail(ErrorKind::kUnsupported, "fast zeroing");
  co_return co_await export_.disk->write_zeroes(request.offset, request.length,
                                                (request.flags & kCommandNoHole) == 0);
}

// Reading is what brings data into the host's page cache. Nobody wants it any more when the client
// has gone.
Task<Result<void>> Connection::warm_cache(const ServerRequest& request) {
  const auto scratch =
      std::make_unique_for_overwrite<std::byte[]>(std::min(request.length, kWarmStepBytes));
  for (uint32_t done = 0; done < request.length;) {
    const uint32_t step = std::min(request.length - done, kWarmStepBytes);
    const iovec buffer{scratch.get(), step};
    CO_TRY_VOID(co_await export_.disk->read(request.offset + done, {&buffer, 1}));
    done += step;
    if (ended_) break;
  }
  co_return {};
}

// One chunk for each context that was agreed upon.
Task<Result<void>> Connection::block_status(const ServerRequest& request, ServerReply& reply) {
  const size_t most = (request.flags & kCommandReqOne) != 0 ? 1 : kMaxExtents;
  for (const uint32_t index : negotiated_->contexts) {
    CO_TRY(const std::vector<ExtentDescriptor> extents,
           co_await export_.contexts[index]->extents(request.offset, request.length, most));
    append_extents(reply, request, index, extents, index == negotiated_->contexts.back());
  }
  co_return {};
}

// ---- What goes out.

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
      ServerReply& reply = outgoing_[i];
      buffers.push_back({reply.head.data(), reply.head.size()});
      if (reply.data_bytes != 0) buffers.push_back({reply.data.get(), reply.data_bytes});
    }
    if (!co_await stream_.send(buffers)) {
      broken_ = true;
      ::shutdown(socket_.get(), SHUT_RDWR);
      break;
    }
    for (size_t i = 0; i < count; ++i) {
      retire(outgoing_.front().payload_bytes);
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
  for (const ServerReply& reply : outgoing_) retire(reply.payload_bytes);
  outgoing_.clear();
  wake();
}

void Connection::retire(uint32_t payload_bytes) {
  --in_flight_;
  payload_bytes_ -= payload_bytes;
  budget_.give_back(payload_bytes);
}

void Connection::wake() {
  if (waiting_) std::exchange(waiting_, {}).resume();
}

}  // namespace hull::blockcore::nbd
