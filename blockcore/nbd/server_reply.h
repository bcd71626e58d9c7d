// The messages with which the server answers, simple or structured as was agreed upon
// (doc/proto.md, "Transmission phase").
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "blockcore/nbd/server_request.h"

namespace hull::blockcore::nbd {

struct ServerReply {
  std::string head;                        // one or more messages; the last continues in `data`
  std::unique_ptr<std::byte[]> data = {};  // of a read
  uint32_t data_bytes = 0;
  uint32_t payload_bytes = 0;  // that its request counts for
};

// What a client is told about an error of the disk.
WireError wire_error(const Error& error);

// One context of a block status; `last` says that no other follows.
void append_extents(ServerReply& reply, const ServerRequest& request, uint32_t context,
                    std::span<const ExtentDescriptor> extents, bool last);
// Completes the reply of a request that was executed, or that failed: then what it holds is
// dropped.
void complete_reply(ServerReply& reply, const ServerRequest& request, WireError error,
                    bool structured);

}  // namespace hull::blockcore::nbd
