// An export over connections that may be lost: a client at a time, and a new one when the server
// has gone away and come back. Requests whose answer was lost are sent again, which changes
// nothing: all of them can be done twice.
//
// A server that ended may have lost what it answered and did not flush. Hence such changes are kept
// here until a flush has covered them, and come first over a new connection; when they grow too
// many the session flushes by itself.
//
// One engine's thread. Bounds of time: NbdDiskOptions.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_fd.h"
#include "base/thread.h"
#include "blockcore/async/wait_list.h"
#include "blockcore/nbd/client.h"
#include "blockcore/nbd/url.h"

namespace hull::blockcore::nbd {

struct SessionOptions {
  std::chrono::milliseconds handshake;  // for one
  std::chrono::milliseconds silence;    // of a server that was asked something
  std::chrono::milliseconds reconnect;  // for all attempts together; 0: a loss is final
  bool writes = true;                   // the export is not read-only
  bool keeps_changes = true;            // until they are flushed
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  // Of changes that no flush has covered.
  static constexpr uint64_t kMaxKeptBytes = 32 << 20;
  static constexpr size_t kMaxKeptChanges = 65'536;

  // Blocks for the first handshake. On the engine's thread, or while it is idle.
  static Result<std::shared_ptr<Session>> open(IoEngine& engine, const std::string& url,
                                               SessionOptions options);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();  // no request may be in flight

  const std::string& name() const { return name_; }
  const ExportFacts& facts() const { return facts_; }  // later connections offer no less
  bool has(uint16_t flag) const { return (facts_.flags & flag) != 0; }

  // As Client's. They wait while there is no connection; what they fail with when none comes is
  // final.
  Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers);
  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers);
  Task<Result<void>> command(Command command, uint16_t flags, uint64_t offset, uint32_t length);
  Task<Result<std::vector<ExtentDescriptor>>> block_status(uint64_t offset, uint32_t length);

  // Requests in flight fail soon, and all later ones.
  void abandon();
  // Until nothing of a reconnection is under way.
  Task<void> settle();

 private:
  using Clock = std::chrono::steady_clock;
  struct Change {
    Command command;
    uint16_t flags;
    uint64_t offset;
    uint32_t length;
    std::vector<std::byte> data;
  };
  // For the server, on a thread of its own.
  struct Search {
    Session* owner;  // null when nobody wants its result any more; the engine's thread alone
    EventFd cancel;
  };

  Session(IoEngine& engine, Url url, std::string name, SessionOptions options)
      : engine_(engine), url_(std::move(url)), name_(std::move(name)), options_(options) {}

  bool keeps_changes() const { return options_.keeps_changes && has(kSendFlush); }
  // With a server that comes and goes without an answer.
  std::chrono::milliseconds patience() const { return 2 * options_.silence + options_.reconnect; }
  Task<Result<void>> insist(std::function<Task<Result<void>>(Client&)> request);
  Task<Result<void>> flush();
  Task<Result<void>> keep(Change change);
  static Task<Result<void>> repeat(Client& client, const Change& change);

  void lose(const Client& client);
  void seek(const Error& error);
  static Result<ClientConnection> look_for_server(const Url& url, const SessionOptions& options,
                                                  std::chrono::milliseconds delay, int cancel);
  void on_found(Result<ClientConnection> found);
  Result<void> check_same(const ExportFacts& facts) const;
  static Task<void> restore(std::shared_ptr<Session> self, ClientConnection connection);
  void give_up(const Error& error);
  void end_search();

  IoEngine& engine_;
  const Url url_;
  const std::string name_;
  const SessionOptions options_;
  ExportFacts facts_;
  std::shared_ptr<Client> client_;     // null while there is no connection
  std::shared_ptr<Client> restoring_;  // a new one that gets what is kept
  bool proven_ = true;                 // something was answered since the last loss
  Clock::time_point lost_since_;       // if not
  std::optional<Error> given_up_;
  std::optional<Error> flush_error_;
  std::shared_ptr<Search> search_;
  Thread searcher_;
  WaitList changed_;  // of client_, restoring_ and given_up_

  std::deque<Change> kept_;
  uint64_t kept_bytes_ = 0;
  uint64_t dropped_ = 0;  // from the front of `kept_`, ever
  AsyncMutex making_room_;
};

}  // namespace hull::blockcore::nbd
