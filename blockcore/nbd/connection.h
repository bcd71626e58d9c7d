// One client of the NBD server: handshake, then requests and replies until either side ends it.
//
// A hostile client cannot make it grow: requests in flight, the bytes of their payloads and the
// replies that wait for the client to read them are bounded together, for each client and for all
// of them; while a bound is reached nothing more is received.
#pragma once

#include <coroutine>
#include <deque>
#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "blockcore/nbd/export.h"
#include "blockcore/nbd/payload_budget.h"
#include "blockcore/nbd/server_handshake.h"
#include "blockcore/nbd/server_reply.h"
#include "blockcore/nbd/stream.h"

namespace hull::blockcore::nbd {

class Connection {
 public:
  // Of one client: with the input buffer all that it can make us hold.
  static constexpr unsigned kMaxRequests = 128;
  static constexpr uint64_t kMaxPayloadBytes = kMaxDataBytes;

  // `budget`, which outlives it, says what all connections may hold together.
  Connection(IoEngine& engine, const Export& offer, PayloadBudget& budget, UniqueFd socket,
             Admission admission)
      : export_(offer),
        admission_(admission),
        budget_(budget),
        socket_(std::move(socket)),
        stream_(engine, socket_.get()) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();  // run() has ended and sending() is false

  // Ends when the client is gone and no request is in flight. What goes wrong ends the connection.
  Task<void> run();
  // Takes no more requests; those in flight are finished and answered.
  void finish();
  void hang_up();  // at once: replies are dropped

  bool negotiated() const { return negotiated_.has_value(); }  // the handshake is over
  bool has_replies() const { return !outgoing_.empty() && !sending_; }
  bool sending() const { return sending_; }
  // It holds memory until the client sends, or reads, more.
  bool waits_for_client() const { return payload_bytes_ != 0 && (sending_ || receiving_data_); }
  uint64_t moved_bytes() const { return stream_.moved_bytes(); }
  void try_again();  // what it got nothing of the budget for
  // Sends all that is queued, in as few calls as can be; to be called once per turn of the loop.
  void send_replies();

 private:
  // Suspends run() until wake().
  struct Wait {
    Connection& connection;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> awaiting) { connection.waiting_ = awaiting; }
    void await_resume() const noexcept {}
  };

  Task<void> serve();
  Task<bool> accept(const RequestHeader& header);
  bool may_hold(uint32_t bytes);
  Task<Result<void>> receive_data(ServerRequest& request);

  Task<void> process(ServerRequest request);
  Task<Result<void>> execute(ServerRequest& request, ServerReply& reply);
  Task<Result<void>> read(ServerRequest& request, ServerReply& reply);
  Task<Result<void>> write_zeroes(const ServerRequest& request);
  Task<Result<void>> warm_cache(const ServerRequest& request);
  Task<Result<void>> block_status(const ServerRequest& request, ServerReply& reply);

  Task<void> send_loop();
  void drop_replies();
  void retire(uint32_t payload_bytes);
  Wait change() { return Wait{*this}; }
  void wake();

  const Export& export_;
  const Admission admission_;
  PayloadBudget& budget_;
  const UniqueFd socket_;
  Stream stream_;
  InputBuffer input_{stream_};
  std::optional<Negotiated> negotiated_;
  bool running_ = false;
  bool finishing_ = false;
  bool ended_ = false;   // nothing more will come
  bool broken_ = false;  // nothing can be sent any more
  bool receiving_data_ = false;

  unsigned in_flight_ = 0;      // requests whose reply has not been sent
  uint64_t payload_bytes_ = 0;  // of theirs
  std::deque<ServerReply> outgoing_;
  bool sending_ = false;
  std::coroutine_handle<> waiting_;  // run(), until one of these changes
};

}  // namespace hull::blockcore::nbd
