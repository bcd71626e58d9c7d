#include "blockcore/nbd/reply_receiver.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "blockcore/engine/iovecs.h"

namespace hull::blockcore::nbd {
namespace {

// Content chunks of one read, and extents of one answer, before a server is thought mad.
constexpr size_t kMaxPieces = 65'536;
constexpr uint32_t kMaxMessageBytes = kMaxStringBytes + 64;

std::unexpected<Error> lie(std::string_view what) {
  return fail(ErrorKind::kInvalidFormat, "the server breaks the protocol: {}", what);
}

// Of the range that was asked for, and no byte twice: what no chunk covers must not pass for data.
Result<void> cover(PendingRequest& request, uint64_t begin, uint64_t length) {
  if (request.command != Command::kRead) return lie("data that nobody asked for");
  if (begin < request.offset ||
      !range_fits<uint64_t>(begin - request.offset, length, request.length))
    return lie("data outside the range that it was asked for");
  auto& covered = request.covered;
  if (!covered.empty() && covered.back().second == begin)
    covered.back().second += length;
  else if (covered.size() == kMaxPieces)
    return lie("a read in countless pieces");
  else
    covered.emplace_back(begin, begin + length);
  return {};
}

Result<void> check_covered(PendingRequest& request) {
  if (request.command == Command::kBlockStatus && request.extents.empty())
    return lie("a block status without extents");
  if (request.command != Command::kRead) return {};
  std::sort(request.covered.begin(), request.covered.end());
  uint64_t end = request.offset;
  for (const auto& [begin, piece_end] : request.covered) {
    if (begin != end) return lie("a read with gaps or overlaps");
    end = piece_end;
  }
  if (end != request.offset + request.length) return lie("a read that is too short");
  return {};
}

}  // namespace

Task<Result<void>> ReplyReceiver::receive() {
  // The shorter kind tells by its magic whether it is the longer one.
  ChunkHeader header;
  static_assert(sizeof(SimpleReplyHeader) < sizeof header);
  const auto bytes = std::as_writable_bytes(std::span(&header, 1));
  CO_TRY_VOID(co_await input_.take(bytes.first(sizeof(SimpleReplyHeader))));
  if (header.magic == kSimpleReplyMagic) {
    SimpleReplyHeader simple;
    std::memcpy(&simple, &header, sizeof simple);
    co_return co_await simple_reply(simple);
  }
  if (header.magic != kStructuredReplyMagic || !facts_.structured_replies)
    co_return lie("a reply with wrong magic");
  CO_TRY_VOID(co_await input_.take(bytes.subspan(sizeof(SimpleReplyHeader))));
  co_return co_await chunk(header);
}

Task<Result<void>> ReplyReceiver::simple_reply(const SimpleReplyHeader& header) {
  PendingRequest* const request = pending_.find(header.cookie);
  if (request == nullptr) co_return lie("a reply to nothing");
  const bool needs_chunks =
      facts_.structured_replies &&
      (request->command == Command::kRead || request->command == Command::kBlockStatus);
  if (needs_chunks) co_return lie("a simple reply where a structured one is due");
  request->error = header.error;
  if (request->command == Command::kRead && header.error == 0U)
    CO_TRY_VOID(co_await input_.take(request->buffers, 0, request->length));
  pending_.finish(header.cookie);
  co_return {};
}

Task<Result<void>> ReplyReceiver::chunk(const ChunkHeader& header) {
  PendingRequest* const request = pending_.find(header.cookie);
  if (request == nullptr) co_return lie("a reply to nothing");
  const auto type = static_cast<Chunk>(header.type.get());
  const bool last = (header.flags & kChunkDone) != 0;
  if ((header.type & kChunkErrorBit) != 0) {
    CO_TRY_VOID(co_await error_chunk(*request, header.length));
  } else if (type == Chunk::kNone) {
    if (header.length != 0U || !last) co_return lie("a malformed end of a reply");
  } else if (type == Chunk::kOffsetData) {
    CO_TRY_VOID(co_await data_chunk(*request, header.length));
  } else if (type == Chunk::kOffsetHole) {
    CO_TRY_VOID(co_await hole_chunk(*request, header.length));
  } else if (type == Chunk::kBlockStatus) {
    CO_TRY_VOID(co_await status_chunk(*request, header.length));
  } else {
    co_return lie("an unknown kind of reply");
  }
  if (!last) co_return {};
  if (request->error == 0) CO_TRY_VOID(check_covered(*request));
  pending_.finish(header.cookie);
  co_return {};
}

Task<Result<void>> ReplyReceiver::data_chunk(PendingRequest& request, uint32_t length) {
  Be64 offset;
  if (length <= sizeof offset) co_return lie("data of no length");
  CO_TRY_VOID(co_await input_.take(std::as_writable_bytes(std::span(&offset, 1))));
  const uint32_t count = length - uint32_t{sizeof offset};
  CO_TRY_VOID(cover(request, offset, count));
  co_return co_await input_.take(request.buffers, offset - request.offset, count);
}

Task<Result<void>> ReplyReceiver::hole_chunk(PendingRequest& request, uint32_t length) {
  struct Hole {
    Be64 offset;
    Be32 length;
  } hole;
  static_assert(sizeof hole == 12);
  if (length != sizeof hole) co_return lie("a malformed hole");
  CO_TRY_VOID(co_await input_.take(std::as_writable_bytes(std::span(&hole, 1))));
  if (hole.length == 0U) co_return lie("a hole of no length");
  CO_TRY_VOID(cover(request, hole.offset, hole.length));
  zero_iovecs(request.buffers, hole.offset - request.offset, hole.length);
  co_return {};
}

Task<Result<void>> ReplyReceiver::status_chunk(PendingRequest& request, uint32_t length) {
  if (request.command != Command::kBlockStatus || !request.extents.empty())
    co_return lie("a block status that nobody asked for");
  Be32 context;
  const uint32_t rest = length - uint32_t{sizeof context};
  if (length <= sizeof context || rest % sizeof(ExtentDescriptor) != 0 ||
      rest / sizeof(ExtentDescriptor) > 2 * kMaxPieces)
    co_return lie("a malformed block status");
  CO_TRY_VOID(co_await input_.take(std::as_writable_bytes(std::span(&context, 1))));
  if (context != facts_.allocation_context) co_return lie("a context that nobody asked for");
  std::vector<ExtentDescriptor> extents(rest / sizeof(ExtentDescriptor));
  CO_TRY_VOID(co_await input_.take(std::as_writable_bytes(std::span(extents))));
  // "the sum of the lengths of the descriptors MUST not be greater than the length of the original
  // request"; some servers go beyond with the last one.
  uint64_t total = 0;
  for (const ExtentDescriptor& extent : extents) {
    if (extent.length == 0U || total >= request.length) co_return lie("extents without measure");
    total += extent.length;
  }
  request.extents = std::move(extents);
  co_return {};
}

Task<Result<void>> ReplyReceiver::error_chunk(PendingRequest& request, uint32_t length) {
  struct ErrorHead {
    Be32 error;
    Be16 message_length;
  } head;
  static_assert(sizeof head == 6);
  if (length < sizeof head || length > kMaxMessageBytes) co_return lie("a malformed error");
  CO_TRY_VOID(co_await input_.take(std::as_writable_bytes(std::span(&head, 1))));
  const uint32_t rest = length - uint32_t{sizeof head};
  if (head.error == 0U || head.message_length > rest) co_return lie("a malformed error");
  std::array<std::byte, kMaxMessageBytes> ignored;
  CO_TRY_VOID(co_await input_.take(std::span(ignored).first(rest)));
  request.error = head.error;
  co_return {};
}

}  // namespace hull::blockcore::nbd
