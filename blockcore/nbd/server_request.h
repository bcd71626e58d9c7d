// What a client of the server asks for, and whether it may.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "blockcore/nbd/server_handshake.h"

namespace hull::blockcore::nbd {

// How much of a range is read at a time when nobody wants the data.
inline constexpr uint32_t kWarmStepBytes = 256 << 10;
inline constexpr size_t kMaxExtents = 2048;  // of one context in one reply

struct ServerRequest {
  explicit ServerRequest(const RequestHeader& header);

  Command command;
  uint16_t flags;
  uint64_t cookie;
  uint64_t offset;
  uint32_t length;
  WireError error = WireError::kNone;      // found before it was executed
  std::unique_ptr<std::byte[]> data = {};  // of a write
  uint32_t payload_bytes = 0;              // that it counts for
};

// kNone: it may be executed.
WireError check_request(const ServerRequest& request, const Export& offer,
                        const Negotiated& negotiated);
// What a request that may be executed makes us hold until its reply is sent: at most kMaxDataBytes.
uint32_t held_bytes(const ServerRequest& request, const Negotiated& negotiated);

}  // namespace hull::blockcore::nbd
