// An NBD server for one export. It runs on its engine's thread and knows nothing of how clients
// reach it: a listening socket (listener.h) or connected ones are handed to it.
//
//   auto server = TRY(Server::create(engine, std::move(offer), {}));
//   TRY(server->listen(std::move(socket)));
//   engine.run();                              // serves
//   engine.run_until_done(server->stop());     // finishes what is in flight, hangs up
#pragma once

#include <chrono>
#include <coroutine>
#include <functional>
#include <list>
#include <memory>

#include "base/unique_fd.h"
#include "blockcore/engine/io_engine.h"
#include "blockcore/nbd/export.h"
#include "blockcore/nbd/payload_budget.h"

namespace hull::blockcore::nbd {

class Connection;

struct ServerOptions {
  // More wait in the listening socket's queue, as queue_patience says. At most kMaxConnections.
  unsigned max_connections = 1;
  // Of requests and replies of all clients together; at least kMaxDataBytes. While it is used up,
  // requests wait their turn.
  uint64_t max_payload_bytes = 256 << 20;
  // For a whole handshake; after stop() for replies that a client does not read; and while others
  // wait for memory, for a client that has some and neither sends what it announced nor reads what
  // it asked for.
  std::chrono::milliseconds patience = std::chrono::seconds(10);
  // How long a client waits while all places are taken; then it is told so.
  std::chrono::milliseconds queue_patience = std::chrono::seconds(60);
  // A client that had got through the handshake has gone and no other is there. May stop the
  // engine.
  std::function<void()> last_client_left = {};
};

class Server final : LoopClient {
 public:
  static constexpr unsigned kMaxConnections = 256;

  static Result<std::unique_ptr<Server>> create(IoEngine& engine, Export offer,
                                                ServerOptions options);
  ~Server() override;  // stop() has ended, or there never was a client

  // Takes clients from a listening, non-blocking socket.
  Result<void> listen(UniqueFd listener);
  void adopt(UniqueFd socket);  // one connected client: a blocking stream socket
  // No new clients and requests; ends when those in flight are answered and everybody is gone.
  Task<void> stop();

  size_t connections() const;  // without those that are only told that there is no place

 private:
  using Clock = std::chrono::steady_clock;
  struct Client {
    std::unique_ptr<Connection> connection;
    Clock::time_point deadline;
    uint64_t moved_bytes = 0;  // when somebody began to wait for memory
    bool refused = false;      // has no place
    bool gone = false;
  };

  Server(IoEngine& engine, Export offer, ServerOptions options, UniqueFd timer);
  bool turn() override;
  bool may_sleep() override;
  void accept_clients();
  bool accept_one(Admission admission);
  void take(UniqueFd socket, Admission admission);
  void watch_queue();
  void refuse_queue();
  Task<void> serve(Client& client);
  bool forget_gone_clients();
  bool share_memory();
  void enforce_deadlines();
  void arm_timer(Clock::time_point now);

  IoEngine& engine_;
  const Export export_;
  const ServerOptions options_;
  PayloadBudget budget_{options_.max_payload_bytes};
  Clock::time_point wanted_by_ = Clock::time_point::max();  // memory that somebody waits for
  Clock::time_point refuse_at_ = Clock::time_point::max();  // somebody waits for a place
  const UniqueFd timer_;
  UniqueFd listener_;
  std::list<Client> clients_;
  bool someone_gone_ = false;
  bool stopping_ = false;
  std::coroutine_handle<> stopped_;
};

}  // namespace hull::blockcore::nbd
