#include "virtio/chain.h"

#include <algorithm>

namespace hull::virtio {

SegmentCursor::SegmentCursor(std::span<const GuestSlice> segments) : segments_(segments) {
  for (const GuestSlice& segment : segments) remaining_ += segment.size();
}

GuestSlice SegmentCursor::take_piece(size_t limit) {
  CHECK(limit != 0 && remaining_ != 0);
  const GuestSlice& segment = segments_.front();
  const size_t length = std::min({limit, remaining_, segment.size() - offset_});
  const GuestSlice piece = segment.subslice(offset_, length);
  offset_ += length;
  remaining_ -= length;
  if (offset_ == segment.size()) {
    segments_ = segments_.subspan(1);
    offset_ = 0;
  }
  return piece;
}

void SegmentCursor::skip(size_t bytes) {
  CHECK(bytes <= remaining_);
  while (bytes != 0) bytes -= take_piece(bytes).size();
}

void SegmentCursor::take_iovecs(size_t bytes, std::vector<iovec>& iovecs) {
  CHECK(bytes <= remaining_);
  while (bytes != 0) {
    const GuestSlice piece = take_piece(bytes);
    iovecs.push_back(piece.as_iovec());
    bytes -= piece.size();
  }
}

bool ChainReader::read(std::span<uint8_t> data) {
  if (data.size() > remaining()) return false;
  while (!data.empty()) {
    const GuestSlice piece = take_piece(data.size());
    piece.copy_to(data.first(piece.size()));
    data = data.subspan(piece.size());
  }
  return true;
}

bool ChainWriter::write(std::span<const uint8_t> data) {
  if (data.size() > remaining()) return false;
  while (!data.empty()) {
    const GuestSlice piece = take_piece(data.size());
    piece.copy_from(data.first(piece.size()));
    data = data.subspan(piece.size());
  }
  return true;
}

ChainWriter ChainWriter::split_tail(size_t bytes) {
  CHECK(bytes <= remaining());
  ChainWriter tail = *this;
  tail.skip(remaining() - bytes);
  limit_to(remaining() - bytes);
  return tail;
}

}  // namespace hull::virtio
