#include "blockcore/nbd/client.h"

#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>

#include "blockcore/engine/iovecs.h"

namespace hull::blockcore::nbd {

namespace {

constexpr unsigned kPatiences = 4;  // for one request, from a server that is not silent

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

Result<std::shared_ptr<Client>> Client::create(IoEngine& engine, ClientConnection connection,
                                               std::string name,
                                               std::chrono::milliseconds patience) {
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer.valid()) return std::unexpected(Error::from_errno("timerfd_create"));
  std::shared_ptr<Client> client(
      new Client(engine, std::move(connection), std::move(name), std::move(timer), patience));
  TRY(engine.watch(client->timer_.get(), [raw = client.get()] { raw->look_for_silence(); }));
  return client;
}

Client::Client(IoEngine& engine, ClientConnection connection, std::string name, UniqueFd timer,
               std::chrono::milliseconds patience)
    : engine_(engine),
      name_(std::move(name)),
      facts_(connection.facts),
      socket_(std::move(connection.socket)),
      stream_(engine, socket_.get()),
      timer_(std::move(timer)),
      patience_(patience) {}

Client::~Client() {
  CHECK(pending_.empty() && !receiving_);
  engine_.unwatch(timer_.get());
  if (lost_) return;
  const RequestHeader goodbye{
      kRequestMagic, uint16_t{0}, static_cast<uint16_t>(Command::kDisconnect),
      uint64_t{0},   uint64_t{0}, uint32_t{0}};
  (void)::send(socket_.get(), &goodbye, sizeof goodbye, MSG_DONTWAIT | MSG_NOSIGNAL);
}

Task<Result<void>> Client::read(uint64_t offset, std::span<const iovec> buffers) {
  PendingRequest request{.command = Command::kRead,
                         .offset = offset,
                         .length = static_cast<uint32_t>(total_bytes(buffers)),
                         .buffers = buffers};
  co_return co_await run(request, 0, {});
}

Task<Result<void>> Client::write(uint64_t offset, std::span<const iovec> buffers) {
  PendingRequest request{.command = Command::kWrite,
                         .offset = offset,
                         .length = static_cast<uint32_t>(total_bytes(buffers))};
  co_return co_await run(request, 0, buffers);
}

Task<Result<void>> Client::command(Command command, uint16_t flags, uint64_t offset,
                                   uint32_t length) {
  PendingRequest request{.command = command, .offset = offset, .length = length};
  co_return co_await run(request, flags, {});
}

Task<Result<std::vector<ExtentDescriptor>>> Client::block_status(uint64_t offset, uint32_t length) {
  PendingRequest request{.command = Command::kBlockStatus, .offset = offset, .length = length};
  CO_TRY_VOID(co_await run(request, 0, {}));
  co_return std::move(request.extents);
}

// `request` lives in the caller's frame: nothing may end here before the last of the socket's
// operations on its buffers has.
Task<Result<void>> Client::run(PendingRequest& request, uint16_t flags,
                               std::span<const iovec> payload) {
  if (lost_) co_return std::unexpected(*lost_);
  const uint64_t cookie = pending_.enter(request);
  if (!receiving_) start_detached(receive_replies(shared_from_this()));
  if (!timing_) watch_server();
  const RequestHeader header{kRequestMagic, flags,          static_cast<uint16_t>(request.command),
                             cookie,        request.offset, request.length};
  const Result<void> sent = co_await send(header, payload);
  if (!sent && !lost_) fail_all(sent.error());
  struct Wait {
    PendingRequest& request;
    bool await_ready() const noexcept { return request.done; }
    void await_suspend(std::coroutine_handle<> awaiting) const { request.waiting = awaiting; }
    void await_resume() const noexcept {}
  };
  const Wait wait{request};
  co_await wait;
  co_return outcome(request);
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

Result<void> Client::outcome(const PendingRequest& request) const {
  if (request.error == 0) return {};
  if (lost_) return std::unexpected(*lost_);
  return std::unexpected(
      Error::from_errno(fmt::format("{}: the server says", name_), to_errno(request.error)));
}

void Client::watch_server() {
  timing_ = true;
  was_waiting_ = false;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(patience_);
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(seconds.count());
  when.it_value.tv_nsec = static_cast<long>(std::chrono::nanoseconds(patience_ - seconds).count());
  ::timerfd_settime(timer_.get(), 0, &when, nullptr);
}

// Something in flight from one end of the timer to the next, and no byte between.
void Client::look_for_silence() {
  uint64_t expirations;
  [[maybe_unused]] const ssize_t got = ::read(timer_.get(), &expirations, sizeof expirations);
  timing_ = false;
  if (pending_.empty() || lost_) return;
  if (pending_.grow_older() >= kPatiences) {
    fail_all(Error(
        ErrorKind::kTimeout,
        fmt::format("the server has not answered a request for {} seconds",
                    std::chrono::ceil<std::chrono::seconds>(kPatiences * patience_).count())));
    return;
  }
  const bool silent = was_waiting_ && stream_.received_bytes() == received_before_;
  if (silent) {
    fail_all(Error(ErrorKind::kTimeout,
                   fmt::format("the server has sent nothing for {} seconds",
                               std::chrono::ceil<std::chrono::seconds>(patience_).count())));
    return;
  }
  watch_server();
  was_waiting_ = true;
  received_before_ = stream_.received_bytes();
}

void Client::abandon() {
  if (!lost_) fail_all(Error(ErrorKind::kIo, "the connection was given up"));
}

void Client::fail_all(const Error& error) {
  lost_.emplace(error.kind(), fmt::format("{}: {}", name_, error.message()), EIO);
  ::shutdown(socket_.get(), SHUT_RDWR);
}

Task<void> Client::receive_replies(std::shared_ptr<Client> client) {
  client->receiving_ = true;
  while (!client->pending_.empty() && !client->lost_) {
    const Result<void> received = co_await client->replies_.receive();
    if (!received && !client->lost_) client->fail_all(received.error());
  }
  client->receiving_ = false;
  // What was waiting for an answer gets none. Nothing new begins meanwhile, for all is lost.
  if (client->lost_) client->pending_.fail_all();
}

}  // namespace hull::blockcore::nbd
