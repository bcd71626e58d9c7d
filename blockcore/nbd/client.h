// The client's side of the transmission phase: requests of one engine's coroutines over one socket.
//
// Replies are received only while requests are in flight, so that the engine is idle between them.
// Whatever the server sends is checked against what it was asked; a lie, like a lost connection, is
// an error of every request in flight and of all that come later: there is no reconnection.
#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <vector>

#include "blockcore/async_mutex.h"
#include "blockcore/nbd/client_handshake.h"
#include "blockcore/nbd/stream.h"

namespace hull::blockcore::nbd {

class Client : public std::enable_shared_from_this<Client> {
 public:
  // `name` is for messages. Shared, because whoever gets the last reply may let go of the client
  // while it still looks whether there are others.
  static std::shared_ptr<Client> create(IoEngine& engine, ClientConnection connection,
                                        std::string name);
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

 private:
  Client(IoEngine& engine, ClientConnection connection, std::string name);

  struct Pending {
    Command command;
    uint64_t offset;
    uint32_t length;
    std::span<const iovec> buffers;                      // of a read
    std::vector<std::pair<uint64_t, uint64_t>> covered;  // [begin, end) of what came
    std::vector<ExtentDescriptor> extents;
    uint32_t error = 0;
    bool done = false;
    std::coroutine_handle<> waiting;
  };

  Task<Result<void>> run(Pending& pending, uint16_t flags, std::span<const iovec> payload);
  Task<Result<void>> send(const RequestHeader& header, std::span<const iovec> payload);
  uint64_t enter(Pending& pending);
  Pending* find(uint64_t cookie);
  void finish(uint64_t cookie);
  Result<void> outcome(const Pending& pending) const;

  static Task<void> receive_replies(std::shared_ptr<Client> client);
  void end_waiting();
  Task<Result<void>> receive_reply();
  Task<Result<void>> simple_reply(const SimpleReplyHeader& header);
  Task<Result<void>> chunk(const ChunkHeader& header);
  Task<Result<void>> data_chunk(Pending& pending, uint32_t length);
  Task<Result<void>> hole_chunk(Pending& pending, uint32_t length);
  Task<Result<void>> status_chunk(Pending& pending, uint32_t length);
  Task<Result<void>> error_chunk(Pending& pending, uint32_t length);
  static Result<void> cover(Pending& pending, uint64_t begin, uint64_t length);
  static Result<void> check_covered(Pending& pending);
  void fail_all(const Error& error);

  const std::string name_;
  const ExportFacts facts_;
  const UniqueFd socket_;
  Stream stream_;
  InputBuffer input_;
  AsyncMutex sending_;
  bool receiving_ = false;
  std::optional<Error> lost_;

  // By slot; a cookie is the slot and how often it was used, so that an old one is known as such.
  struct Slot {
    Pending* pending = nullptr;
    uint32_t uses = 0;
  };
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  unsigned in_flight_ = 0;
};

}  // namespace hull::blockcore::nbd
