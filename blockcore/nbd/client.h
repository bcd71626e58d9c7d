// The client's side of the transmission phase: requests of one engine's coroutines over one socket.
//
// Replies are received only while requests are in flight, so that the engine is idle between them.
// Whatever the server sends is checked against what it was asked; a lie, like a lost connection, is
// an error of every request in flight and of all that come later (session.h connects again). So is
// silence: a server that is asked and sends nothing at all for so long is given up, and one that
// leaves a request unanswered for four times as long.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "blockcore/async/async_mutex.h"
#include "blockcore/nbd/client_handshake.h"
#include "blockcore/nbd/pending_requests.h"
#include "blockcore/nbd/reply_receiver.h"
#include "blockcore/nbd/stream.h"

namespace hull::blockcore::nbd {

class Client : public std::enable_shared_from_this<Client> {
 public:
  // `name` is for messages. Shared, because whoever gets the last reply may let go of the client
  // while it still looks whether there are others. Silence of `patience`, or up to twice as long,
  // is the end. On the engine's thread, or while it is idle, as is the end of the client.
  static Result<std::shared_ptr<Client>> create(IoEngine& engine, ClientConnection connection,
                                                std::string name,
                                                std::chrono::milliseconds patience);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();  // says goodbye; no request may be in flight

  const std::string& name() const { return name_; }
  const ExportFacts& facts() const { return facts_; }
  bool has(uint16_t flag) const { return (facts_.flags & flag) != 0; }

  // The range lies inside the export; `buffers` hold at most facts().max_bytes.
  Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers);
  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers);
  // kFlush, kTrim and kWriteZeroes, where the server has them.
  Task<Result<void>> command(Command command, uint16_t flags, uint64_t offset, uint32_t length);
  // base:allocation from `offset` on, at most `length` bytes, at least one extent.
  Task<Result<std::vector<ExtentDescriptor>>> block_status(uint64_t offset, uint32_t length);
  // Why the connection is of no use any more: kInvalidFormat if the server has broken the protocol.
  const std::optional<Error>& lost() const { return lost_; }
  // The connection is given up: requests in flight fail soon, whatever the server does.
  void abandon();

 private:
  Client(IoEngine& engine, ClientConnection connection, std::string name, UniqueFd timer,
         std::chrono::milliseconds patience);

  Task<Result<void>> run(PendingRequest& request, uint16_t flags, std::span<const iovec> payload);
  Task<Result<void>> send(const RequestHeader& header, std::span<const iovec> payload);
  Result<void> outcome(const PendingRequest& request) const;

  static Task<void> receive_replies(std::shared_ptr<Client> client);
  void fail_all(const Error& error);
  void watch_server();
  void look_for_silence();

  IoEngine& engine_;
  const std::string name_;
  const ExportFacts facts_;
  const UniqueFd socket_;
  Stream stream_;
  PendingRequests pending_;
  ReplyReceiver replies_{stream_, facts_, pending_};
  AsyncMutex sending_;
  bool receiving_ = false;
  const UniqueFd timer_;
  const std::chrono::milliseconds patience_;
  bool timing_ = false;           // the timer runs
  bool was_waiting_ = false;      // when it ended the last time
  uint64_t received_before_ = 0;  // the same
  std::optional<Error> lost_;
};

}  // namespace hull::blockcore::nbd
