#include "blockcore/nbd/session.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "blockcore/engine/iovecs.h"

namespace hull::blockcore::nbd {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstDelay(100);  // between two attempts; it doubles up to the longest
constexpr milliseconds kLongestDelay(1000);

int64_t seconds(milliseconds time) { return std::chrono::ceil<std::chrono::seconds>(time).count(); }

// True if it was cancelled meanwhile.
bool sleep_unless(int cancel, milliseconds time) {
  pollfd entry{.fd = cancel, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, static_cast<int>(time.count())) > 0;
}

Task<Result<void>> ask_status(Client& client, uint64_t offset, uint32_t length,
                              std::vector<ExtentDescriptor>& extents) {
  CO_TRY(extents, co_await client.block_status(offset, length));
  co_return {};
}

}  // namespace

Result<std::shared_ptr<Session>> Session::open(IoEngine& engine, const std::string& url,
                                               SessionOptions options) {
  const Url parsed = TRY(parse_url(url));
  ClientConnection connection = TRY(connect_to_export(parsed, options.handshake).with_context(url));
  std::shared_ptr<Session> session(new Session(engine, parsed, url, options));
  session->facts_ = connection.facts;
  session->client_ = TRY(Client::create(engine, std::move(connection), url, options.silence));
  return session;
}

Session::~Session() { end_search(); }

// ---- Requests.

// Over as many connections as it takes, within bounds.
Task<Result<void>> Session::insist(std::function<Task<Result<void>>(Client&)> request) {
  const auto began = Clock::now();
  for (;;) {
    while (client_ == nullptr && !given_up_) co_await changed_.wait();
    if (given_up_) co_return std::unexpected(*given_up_);
    const std::shared_ptr<Client> client = client_;
    Result<void> result = co_await request(*client);
    if (result) proven_ = true;
    // A server that is about to end says so.
    if (!result && result.error().error_number() == ESHUTDOWN) client->abandon();
    if (result || !client->lost()) co_return result;
    lose(*client);
    if (!given_up_ && Clock::now() - began > patience()) co_return result;
  }
}

Task<Result<void>> Session::read(uint64_t offset, std::span<const iovec> buffers) {
  auto reading = insist([=](Client& client) { return client.read(offset, buffers); });
  co_return co_await std::move(reading);
}

Task<Result<void>> Session::write(uint64_t offset, std::span<const iovec> buffers) {
  auto writing = insist([=](Client& client) { return client.write(offset, buffers); });
  CO_TRY_VOID(co_await std::move(writing));
  if (!keeps_changes()) co_return {};
  std::vector<std::byte> data(total_bytes(buffers));
  copy_from_iovecs(buffers, 0, data);
  const auto length = static_cast<uint32_t>(data.size());
  // With a name: task.h says why.
  Change change{Command::kWrite, 0, offset, length, std::move(data)};
  auto keeping = keep(std::move(change));
  co_return co_await std::move(keeping);
}

Task<Result<void>> Session::command(Command command, uint16_t flags, uint64_t offset,
                                    uint32_t length) {
  if (command == Command::kFlush) co_return co_await flush();
  auto changing =
      insist([=](Client& client) { return client.command(command, flags, offset, length); });
  CO_TRY_VOID(co_await std::move(changing));
  if (!keeps_changes()) co_return {};
  Change change{command, flags, offset, length, {}};
  auto keeping = keep(std::move(change));
  co_return co_await std::move(keeping);
}

Task<Result<std::vector<ExtentDescriptor>>> Session::block_status(uint64_t offset,
                                                                  uint32_t length) {
  std::vector<ExtentDescriptor> extents;
  auto asking =
      insist([=, &extents](Client& client) { return ask_status(client, offset, length, extents); });
  CO_TRY_VOID(co_await std::move(asking));
  co_return std::move(extents);
}

// What had been answered when it began is durable when it ends. What it fails with once, it fails
// with for ever: nobody knows what was lost.
Task<Result<void>> Session::flush() {
  if (flush_error_) co_return std::unexpected(*flush_error_);
  const uint64_t covered = dropped_ + kept_.size();
  auto flushing = insist([](Client& client) { return client.command(Command::kFlush, 0, 0, 0); });
  const auto flushed = co_await std::move(flushing);
  if (!flushed) {
    flush_error_ = flushed.error();
    co_return flushed;
  }
  for (; dropped_ < covered; ++dropped_) {
    kept_bytes_ -= kept_.front().data.size();
    kept_.pop_front();
  }
  co_return {};
}

// ---- What a server may lose.

Task<Result<void>> Session::keep(Change change) {
  kept_bytes_ += change.data.size();
  kept_.push_back(std::move(change));
  const auto too_many = [this] {
    return kept_bytes_ > kMaxKeptBytes || kept_.size() > kMaxKeptChanges;
  };
  if (!too_many()) co_return {};
  const AsyncMutex::Guard guard = co_await making_room_.lock();
  if (!too_many()) co_return {};
  co_return co_await flush();
}

Task<Result<void>> Session::repeat(Client& client, const Change& change) {
  if (change.command != Command::kWrite)
    co_return co_await client.command(change.command, change.flags, change.offset, change.length);
  const iovec buffer{const_cast<std::byte*>(change.data.data()), change.data.size()};
  co_return co_await client.write(change.offset, {&buffer, 1});
}

// ---- Loss.

// `client` is kept by whoever calls.
void Session::lose(const Client& client) {
  if (client_.get() != &client) return;
  client_.reset();
  const Error error = *client.lost();
  // One that breaks the protocol would do it again.
  if (error.kind() == ErrorKind::kInvalidFormat || options_.reconnect == milliseconds::zero())
    return give_up(error);
  seek(error);
}

void Session::seek(const Error& error) {
  const auto now = Clock::now();
  const bool again = !std::exchange(proven_, false);
  if (!again) lost_since_ = now;
  if (again && now - lost_since_ > patience()) return give_up(error);
  LOG_LIMITED(LogLevel::kWarn, "nbd", "{}; connecting again", error.message());
  auto cancel = EventFd::create();
  if (!cancel) return give_up(cancel.error());
  search_ = std::make_shared<Search>(Search{this, *std::move(cancel)});
  auto thread =
      start_thread(ThreadKind::kFile, "nbd",
                   [search = search_, url = url_, options = options_, again, &engine = engine_] {
                     auto found = std::make_shared<Result<ClientConnection>>(look_for_server(
                         url, options, again ? kFirstDelay : milliseconds(0), search->cancel.fd()));
                     engine.post([search, found] {
                       if (search->owner != nullptr) search->owner->on_found(std::move(*found));
                     });
                   });
  if (!thread) return give_up(thread.error());
  searcher_ = *std::move(thread);
}

// On a thread of its own.
Result<ClientConnection> Session::look_for_server(const Url& url, const SessionOptions& options,
                                                  milliseconds delay, int cancel) {
  const auto deadline = Clock::now() + options.reconnect;
  for (;;) {
    if (sleep_unless(cancel, delay)) return fail(ErrorKind::kIo, "given up");
    auto connection = connect_to_export(url, options.handshake, cancel);
    delay = std::clamp(2 * delay, kFirstDelay, kLongestDelay);
    if (connection || Clock::now() + delay > deadline) return connection;
  }
}

void Session::on_found(Result<ClientConnection> found) {
  const std::shared_ptr<Session> self = shared_from_this();
  searcher_.join();
  search_.reset();
  if (found)
    start_detached(restore(self, *std::move(found)));
  else
    give_up(
        Error(found.error().kind(),
              fmt::format("{}: the connection was lost, and there was no other for {} seconds: {}",
                          name_, seconds(options_.reconnect), found.error().message())));
}

Result<void> Session::check_same(const ExportFacts& facts) const {
  const uint16_t needed = facts_.flags & (kSendFlush | kSendTrim | kSendWriteZeroes);
  const bool same = facts.size_bytes == facts_.size_bytes && facts.min_bytes == facts_.min_bytes &&
                    facts.max_bytes >= facts_.max_bytes && (facts.flags & needed) == needed &&
                    (!options_.writes || (facts.flags & kReadOnly) == 0) &&
                    (facts.allocation_context || !facts_.allocation_context);
  if (same) return {};
  return fail(ErrorKind::kInvalidConfig,
              "{}: the connection was lost, and the server offers another export now", name_);
}

// Nobody uses the new connection before the server has what an old one had.
Task<void> Session::restore(std::shared_ptr<Session> self, ClientConnection connection) {
  Result<void> restored = self->check_same(connection.facts);
  if (!restored) co_return self->give_up(restored.error());
  auto client =
      Client::create(self->engine_, std::move(connection), self->name_, self->options_.silence);
  if (!client) co_return self->give_up(client.error());
  self->restoring_ = *client;
  for (size_t i = 0; restored && i < self->kept_.size(); ++i)
    restored = co_await repeat(**client, self->kept_[i]);
  self->restoring_.reset();
  if (!self->given_up_ && restored) self->client_ = *client;
  if (!self->given_up_ && !restored) {
    if ((*client)->lost())
      self->seek(*(*client)->lost());
    else
      self->give_up(restored.error());
  }
  self->changed_.wake_all();
}

void Session::abandon() { give_up(Error(ErrorKind::kIo, name_ + ": the connection was given up")); }

void Session::give_up(const Error& error) {
  if (given_up_) return;
  given_up_.emplace(error.kind(), error.message(), EIO);
  end_search();
  if (restoring_) restoring_->abandon();
  if (client_) std::exchange(client_, nullptr)->abandon();
  changed_.wake_all();
}

void Session::end_search() {
  if (search_ == nullptr) return;
  search_->owner = nullptr;
  search_->cancel.signal();
  searcher_.join();
  search_.reset();
}

Task<void> Session::settle() {
  while (restoring_ || (client_ == nullptr && !given_up_)) co_await changed_.wait();
}

}  // namespace hull::blockcore::nbd
