// Whatever a client sends, from the first byte of the handshake on: the server ends the connection
// in the end, touches nothing outside the disk and leaks nothing.
#include <array>

#include "base/log.h"
#include "blockcore/async/async_mutex.h"
#include "blockcore/nbd/meta_contexts.h"
#include "blockcore/nbd/server.h"
#include "blockcore/nbd/stream.h"
#include "tests/support/memory_disk.h"
#include "tests/support/socket_pair.h"

using namespace hull;
using blockcore::Task;

namespace {

Task<void> send_all(blockcore::IoEngine& engine, int socket, std::string bytes,
                    blockcore::AsyncMutex& sending) {
  const auto guard = co_await sending.lock();
  blockcore::nbd::Stream stream(engine, socket);
  (void)co_await stream.send(std::move(bytes));
  ::shutdown(socket, SHUT_WR);
}

// Reads the answers, so that the server never waits for us; then it has nothing left to do.
Task<void> converse(blockcore::IoEngine& engine, blockcore::nbd::Server& server, int socket,
                    std::string bytes) {
  blockcore::AsyncMutex sending;
  blockcore::start_detached(send_all(engine, socket, std::move(bytes), sending));
  blockcore::nbd::Stream stream(engine, socket);
  std::array<std::byte, 65536> answers;
  for (;;) {
    const auto got = co_await stream.receive_some(answers);
    if (!got || *got == 0) break;
  }
  ::shutdown(socket, SHUT_RDWR);
  const auto sent = co_await sending.lock();
  co_await server.stop();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static blockcore::IoEngine& engine = *[] {
    set_log_level(LogLevel::kError);
    return blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads).value().release();
  }();
  if (size == 0) return 0;
  testing::SocketPair pair;
  testing::MemoryDisk disk(8192 + 100);
  disk.is_read_only = (data[0] & 1) != 0;
  disk.error = (data[0] & 2) != 0 ? EIO : 0;
  blockcore::nbd::Export offer{.name = "", .description = "", .disk = &disk, .contexts = {}};
  offer.contexts.push_back(blockcore::nbd::make_allocation_context(disk));
  const auto server = blockcore::nbd::Server::create(engine, std::move(offer), {}).value();
  server->adopt(std::move(pair.ours));
  std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  engine.run_until_done(converse(engine, *server, pair.theirs.get(), std::move(bytes)));
  return 0;
}
