#include "blockcore/nbd/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "blockcore/nbd/connection.h"

namespace hull::blockcore::nbd {

namespace {

constexpr size_t kMaxRefused = 32;  // at once

// A client whose host is gone without a word is gone two minutes later. Fails harmlessly on a unix
// socket.
void keep_alive(int socket) {
  const auto set = [socket](int level, int name, int value) {
    ::setsockopt(socket, level, name, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 6);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 120'000);
}

}  // namespace

Result<std::unique_ptr<Server>> Server::create(IoEngine& engine, Export offer,
                                               ServerOptions options) {
  CHECK(options.max_connections > 0 && options.max_connections <= kMaxConnections);
  CHECK(options.max_payload_bytes >= kMaxDataBytes);
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer.valid()) return std::unexpected(Error::from_errno("timerfd_create"));
  std::unique_ptr<Server> server(
      new Server(engine, std::move(offer), std::move(options), std::move(timer)));
  if (auto watched =
          engine.watch(server->timer_.get(), [raw = server.get()] { raw->enforce_deadlines(); });
      !watched)
    return std::unexpected(std::move(watched).error());
  return server;
}

Server::Server(IoEngine& engine, Export offer, ServerOptions options, UniqueFd timer)
    : engine_(engine),
      export_(std::move(offer)),
      options_(std::move(options)),
      timer_(std::move(timer)) {
  engine_.add_client(*this);
}

Server::~Server() {
  CHECK(clients_.empty());
  if (listener_.valid()) engine_.unwatch(listener_.get());
  engine_.unwatch(timer_.get());
  engine_.remove_client(*this);
}

Result<void> Server::listen(UniqueFd listener) {
  CHECK(!listener_.valid());
  if (auto watched = engine_.watch(listener.get(), [this] { accept_clients(); }); !watched)
    return watched;
  listener_ = std::move(listener);
  return {};
}

size_t Server::connections() const {
  return clients_.size() - static_cast<size_t>(std::ranges::count_if(clients_, &Client::refused));
}

// The watch tells of a change once, so everybody who waits is let in, as far as there is room; the
// rest when somebody has gone.
void Server::accept_clients() {
  while (listener_.valid() && connections() < options_.max_connections)
    if (!accept_one(Admission::kServed)) break;
  watch_queue();
}

// False: nobody waits, or nobody can be let in now.
bool Server::accept_one(Admission admission) {
  UniqueFd socket;
  do {
    socket.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  } while (!socket.valid() && (errno == EINTR || errno == ECONNABORTED));
  if (!socket.valid() && errno != EAGAIN)
    LOG_LIMITED(LogLevel::kWarn, "nbd", "nbd: {}", Error::from_errno("accept").message());
  if (!socket.valid()) return false;
  take(std::move(socket), admission);
  return true;
}

// Whoever has waited for a place in vain for so long is told.
void Server::watch_queue() {
  pollfd entry{.fd = listener_.get(), .events = POLLIN, .revents = 0};
  const bool someone_waits = listener_.valid() && ::poll(&entry, 1, 0) > 0;
  if (!someone_waits) {
    refuse_at_ = Clock::time_point::max();
  } else if (refuse_at_ == Clock::time_point::max()) {
    const auto now = Clock::now();
    refuse_at_ = now + options_.queue_patience;
    arm_timer(now);
  }
}

void Server::refuse_queue() {
  refuse_at_ = Clock::time_point::max();
  LOG_LIMITED(LogLevel::kWarn, "nbd", "nbd: all places are taken ({}), and others are refused",
              options_.max_connections);
  while (listener_.valid() && clients_.size() < options_.max_connections + kMaxRefused)
    if (!accept_one(Admission::kRefused)) break;
  watch_queue();
}

void Server::adopt(UniqueFd socket) { take(std::move(socket), Admission::kServed); }

void Server::take(UniqueFd socket, Admission admission) {
  // Replies are gathered before they are sent. Fails harmlessly on a unix socket.
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  keep_alive(socket.get());
  const auto now = Clock::now();
  clients_.push_back({.connection = std::make_unique<Connection>(engine_, export_, budget_,
                                                                 std::move(socket), admission),
                      .deadline = now + options_.patience,
                      .refused = admission == Admission::kRefused});
  arm_timer(now);
  start_detached(serve(clients_.back()));
}

// The connection is still running its own frames here; turn() buries it.
Task<void> Server::serve(Client& client) {
  co_await client.connection->run();
  client.gone = true;
  someone_gone_ = true;
}

bool Server::turn() {
  bool worked = false;
  for (Client& client : clients_) {
    if (!client.connection->has_replies()) continue;
    client.connection->send_replies();
    worked = true;
  }
  worked |= share_memory();
  return forget_gone_clients() || worked;
}

// True if those who waited for memory were called.
bool Server::share_memory() {
  const bool changed = budget_.take_change();
  if (changed)
    for (Client& client : clients_) client.connection->try_again();
  if (!budget_.someone_waits()) {
    wanted_by_ = Clock::time_point::max();
  } else if (wanted_by_ == Clock::time_point::max()) {
    for (Client& client : clients_) client.moved_bytes = client.connection->moved_bytes();
    const auto now = Clock::now();
    wanted_by_ = now + options_.patience;
    arm_timer(now);
  }
  return changed;
}

bool Server::may_sleep() {
  return !someone_gone_ && !budget_.changed() &&
         std::none_of(clients_.begin(), clients_.end(),
                      [](const Client& client) { return client.connection->has_replies(); });
}

bool Server::forget_gone_clients() {
  if (!std::exchange(someone_gone_, false)) return false;
  bool was_client = false;
  std::erase_if(clients_, [&](const Client& client) {
    if (client.gone) was_client |= client.connection->negotiated();
    return client.gone;
  });
  if (stopping_) {
    if (clients_.empty() && stopped_) std::exchange(stopped_, {}).resume();
    return true;
  }
  accept_clients();
  if (was_client && connections() == 0 && options_.last_client_left) options_.last_client_left();
  return true;
}

void Server::enforce_deadlines() {
  uint64_t expirations;
  [[maybe_unused]] const ssize_t got = ::read(timer_.get(), &expirations, sizeof expirations);
  const auto now = Clock::now();
  for (Client& client : clients_) {
    const bool limited = stopping_ || !client.connection->negotiated();
    const bool hoards = wanted_by_ <= now && client.connection->waits_for_client() &&
                        client.connection->moved_bytes() == client.moved_bytes;
    if (!client.gone && (hoards || (limited && client.deadline <= now)))
      client.connection->hang_up();
  }
  if (wanted_by_ <= now) wanted_by_ = Clock::time_point::max();  // the next turn looks again
  if (refuse_at_ <= now) refuse_queue();
  arm_timer(now);
}

// For the first deadline after `now`; nobody's: the timer stays silent.
void Server::arm_timer(Clock::time_point now) {
  auto first = wanted_by_ > now ? wanted_by_ : Clock::time_point::max();
  if (refuse_at_ > now) first = std::min(first, refuse_at_);
  for (const Client& client : clients_)
    if (!client.gone && (stopping_ || !client.connection->negotiated()) && client.deadline > now)
      first = std::min(first, client.deadline);
  itimerspec when{};
  if (first != Clock::time_point::max()) {
    const auto left = std::chrono::ceil<std::chrono::nanoseconds>(first.time_since_epoch());
    when.it_value.tv_sec = static_cast<time_t>(left.count() / 1'000'000'000);
    when.it_value.tv_nsec = static_cast<long>(left.count() % 1'000'000'000);
  }
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

Task<void> Server::stop() {
  CHECK(!stopping_);
  stopping_ = true;
  if (listener_.valid()) engine_.unwatch(listener_.get());
  listener_.reset();
  const auto now = Clock::now();
  for (Client& client : clients_) {
    client.deadline = now + options_.patience;
    if (!client.gone) client.connection->finish();
  }
  arm_timer(now);
  if (clients_.empty()) co_return;
  struct Wait {
    Server& server;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> awaiting) { server.stopped_ = awaiting; }
    void await_resume() const noexcept {}
  };
  co_await Wait{*this};
}

}  // namespace hull::blockcore::nbd
