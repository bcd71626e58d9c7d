// What a server answers, checked against what it was asked: the receiving half of a client.
#pragma once

#include "blockcore/nbd/client_handshake.h"
#include "blockcore/nbd/pending_requests.h"
#include "blockcore/nbd/stream.h"

namespace hull::blockcore::nbd {

// Borrows everything.
class ReplyReceiver {
 public:
  ReplyReceiver(Stream& stream, const ExportFacts& facts, PendingRequests& pending)
      : input_(stream), facts_(facts), pending_(pending) {}

  // One message. Data goes into the buffers of its request; the last message of a reply finishes
  // the request. After an error (the stream has ended, or the server breaks the protocol) nothing
  // more can be received.
  Task<Result<void>> receive();

 private:
  Task<Result<void>> simple_reply(const SimpleReplyHeader& header);
  Task<Result<void>> chunk(const ChunkHeader& header);
  Task<Result<void>> data_chunk(PendingRequest& request, uint32_t length);
  Task<Result<void>> hole_chunk(PendingRequest& request, uint32_t length);
  Task<Result<void>> status_chunk(PendingRequest& request, uint32_t length);
  Task<Result<void>> error_chunk(PendingRequest& request, uint32_t length);

  InputBuffer input_;
  const ExportFacts& facts_;
  PendingRequests& pending_;
};

}  // namespace hull::blockcore::nbd
