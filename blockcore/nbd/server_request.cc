#include "blockcore/nbd/server_request.h"

#include <algorithm>

#include "base/checked.h"

namespace hull::blockcore::nbd {
namespace {

bool changes_data(Command command) {
  return command == Command::kWrite || command == Command::kTrim ||
         command == Command::kWriteZeroes;
}

uint16_t allowed_flags(Command command, const Negotiated& negotiated) {
  switch (command) {
    case Command::kRead:
      return negotiated.structured_replies ? kCommandFua | kCommandDf : kCommandFua;
    case Command::kWriteZeroes: return kCommandFua | kCommandNoHole | kCommandFastZero;
    case Command::kBlockStatus: return kCommandFua | kCommandReqOne;
    default: return kCommandFua;
  }
}

}  // namespace

ServerRequest::ServerRequest(const RequestHeader& header)
    : command(static_cast<Command>(header.command.get())),
      flags(header.flags),
      cookie(header.cookie),
      offset(header.offset),
      length(header.length) {}

// Ordered as QEMU does it: permission, then range, then flags.
WireError check_request(const ServerRequest& request, const Export& offer,
                        const Negotiated& negotiated) {
  switch (request.command) {
    case Command::kRead:
    case Command::kWrite:
    case Command::kTrim:
    case Command::kCache:
    case Command::kWriteZeroes:
    case Command::kBlockStatus: break;
    case Command::kFlush:
      return (request.flags & ~kCommandFua) == 0 ? WireError::kNone : WireError::kInvalid;
    default: return WireError::kInvalid;
  }
  if (changes_data(request.command) && !offer.writable()) return WireError::kPermission;
  // What is read to no end but the page cache's costs as much as other reads.
  const bool moves_data = request.command == Command::kRead || request.command == Command::kWrite ||
                          request.command == Command::kCache;
  if (moves_data && request.length > kMaxDataBytes) return WireError::kInvalid;
  if (!range_fits<uint64_t>(request.offset, request.length, offer.disk->size_bytes()))
    return request.command == Command::kWrite || request.command == Command::kWriteZeroes
               ? WireError::kNoSpace
               : WireError::kInvalid;
  if ((request.flags & ~allowed_flags(request.command, negotiated)) != 0)
    return WireError::kInvalid;
  if (request.command == Command::kBlockStatus &&
      (negotiated.contexts.empty() || request.length == 0))
    return WireError::kInvalid;
  return WireError::kNone;
}

uint32_t held_bytes(const ServerRequest& request, const Negotiated& negotiated) {
  switch (request.command) {
    case Command::kRead:
    case Command::kWrite: return request.length;
    case Command::kCache: return std::min(request.length, kWarmStepBytes);
    case Command::kBlockStatus:
      return static_cast<uint32_t>(std::min<uint64_t>(
          negotiated.contexts.size() * kMaxExtents * sizeof(ExtentDescriptor), kMaxDataBytes));
    default: return 0;
  }
}

}  // namespace hull::blockcore::nbd
