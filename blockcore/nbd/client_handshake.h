// The client's side of the fixed newstyle handshake. It blocks, with a deadline: it is done while
// disks are opened, before the engine has anything else to do, and later on a thread of its own.
// What a server says is bounded and checked; one that lies or is silent is an error.
#pragma once

#include <chrono>
#include <optional>

#include "blockcore/nbd/protocol.h"
#include "blockcore/nbd/url.h"

namespace hull::blockcore::nbd {

struct ExportFacts {
  uint64_t size_bytes = 0;
  uint16_t flags = 0;      // transmission flags
  uint32_t min_bytes = 1;  // offset and length of all requests: a multiple of this power of two
  uint32_t max_bytes = kMaxDataBytes;  // of one read or write; a multiple of min_bytes
  bool structured_replies = false;
  std::optional<uint32_t> allocation_context;  // its id
};

struct ClientConnection {
  UniqueFd socket;  // blocking, in the transmission phase
  ExportFacts facts;
};

// Ends at once when `cancel`, a descriptor, becomes readable; -1: none. Any thread.
Result<ClientConnection> connect_to_export(const Url& url, std::chrono::milliseconds patience,
                                           int cancel = -1);

}  // namespace hull::blockcore::nbd
