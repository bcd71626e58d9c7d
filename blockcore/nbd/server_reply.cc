#include "blockcore/nbd/server_reply.h"

#include <cerrno>
#include <string_view>

#include "blockcore/nbd/stream.h"

namespace hull::blockcore::nbd {
namespace {

// What the client may know: names of files are none of its business.
std::string_view describe(WireError error) {
  switch (error) {
    case WireError::kPermission: return "the export is read-only";
    case WireError::kInvalid: return "the request is not valid";
    case WireError::kNoSpace: return "no space left, or past the end of the export";
    case WireError::kOverflow: return "the request is too long";
    case WireError::kNotSupported: return "not supported here";
    case WireError::kShutdown: return "the server is shutting down";
    default: return "the operation failed";
  }
}

void append_chunk(std::string& head, uint64_t cookie, Chunk type, bool last, size_t length) {
  append_bytes(head,
               ChunkHeader{kStructuredReplyMagic, last ? kChunkDone : uint16_t{0},
                           static_cast<uint16_t>(type), cookie, static_cast<uint32_t>(length)});
}

void answer_error(ServerReply& reply, const ServerRequest& request, WireError error,
                  bool structured) {
  const auto number = static_cast<uint32_t>(error);
  reply.head.clear();
  reply.data.reset();
  reply.data_bytes = 0;
  if (!structured) {
    append_bytes(reply.head, SimpleReplyHeader{kSimpleReplyMagic, number, request.cookie});
    return;
  }
  const std::string_view text = describe(error);
  append_chunk(reply.head, request.cookie, Chunk::kError, true,
               sizeof(Be32) + sizeof(Be16) + text.size());
  append_bytes(reply.head, Be32(number));
  append_bytes(reply.head, Be16(static_cast<uint16_t>(text.size())));
  reply.head += text;
}

}  // namespace

WireError wire_error(const Error& error) {
  if (error.kind() == ErrorKind::kNoSpace) return WireError::kNoSpace;
  if (error.kind() == ErrorKind::kUnsupported) return WireError::kNotSupported;
  switch (error.error_number()) {
    case EPERM:
    case EROFS: return WireError::kPermission;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return WireError::kNoSpace;
    case ENOMEM: return WireError::kNoMemory;
    default: return WireError::kIo;
  }
}

void append_extents(ServerReply& reply, const ServerRequest& request, uint32_t context,
                    std::span<const ExtentDescriptor> extents, bool last) {
  append_chunk(reply.head, request.cookie, Chunk::kBlockStatus, last,
               sizeof(Be32) + extents.size_bytes());
  append_bytes(reply.head, Be32(context));
  for (const ExtentDescriptor& extent : extents) append_bytes(reply.head, extent);
}

// "a simple reply MAY be used as a reply to any request other than NBD_CMD_READ" that has no
// payload, also with structured replies.
void complete_reply(ServerReply& reply, const ServerRequest& request, WireError error,
                    bool structured) {
  if (error != WireError::kNone) {
    answer_error(reply, request, error, structured);
  } else if (request.command == Command::kBlockStatus) {
    // Complete already.
  } else if (request.command != Command::kRead || !structured) {
    append_bytes(reply.head, SimpleReplyHeader{kSimpleReplyMagic, 0U, request.cookie});
  } else if (request.length == 0) {
    append_chunk(reply.head, request.cookie, Chunk::kNone, true, 0);
  } else {
    append_chunk(reply.head, request.cookie, Chunk::kOffsetData, true,
                 sizeof(Be64) + request.length);
    append_bytes(reply.head, Be64(request.offset));
  }
}

}  // namespace hull::blockcore::nbd
