// An I/O engine whose system calls are short or fail on demand: for what File must hide.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "blockcore/engine/iovecs.h"
#include "blockcore/engine/thread_engine.h"

namespace hull::testing {

class FaultyEngine : public blockcore::ThreadEngine {
 public:
  static std::unique_ptr<FaultyEngine> create() {
    auto engine = std::unique_ptr<FaultyEngine>(new FaultyEngine(
        EventFd::create().value(), create_epoll().value(), EventFd::create().value()));
    CHECK(engine->add_own_descriptors().has_value());
    return engine;
  }

  size_t max_transfer_bytes = SIZE_MAX;  // of a transfer's first iovec; the others are left out
  unsigned fail_at = 0;  // the operation of a file that fails with EIO, counted from now; 0: none
  int sync_error = 0;    // what the next fdatasync ends with, once
  unsigned syncs = 0;
  int fallocate_error = 0;  // what every fallocate ends with
  unsigned fallocates = 0;
  size_t max_copy_bytes = SIZE_MAX;  // of a copy_file_range
  unsigned fail_copies_from = 0;     // the first copy_file_range that fails; 0: none
  int copy_error = EIO;              // and what it and all later ones end with
  unsigned copies = 0;

 protected:
  using ThreadEngine::ThreadEngine;

  void submit(blockcore::IoOperation& operation) override {
    using Kind = blockcore::IoOperation::Kind;
    if (fail_at != 0 && !is_of_socket(operation) && operation.kind != Kind::kDataSync &&
        --fail_at == 0)
      return fail_later(operation, EIO);
    if (operation.kind == Kind::kFallocate) ++fallocates;
    if (operation.kind == Kind::kFallocate && fallocate_error != 0)
      return fail_later(operation, fallocate_error);
    if (operation.kind == Kind::kDataSync) ++syncs;
    if (operation.kind == Kind::kDataSync && sync_error != 0)
      return fail_later(operation, std::exchange(sync_error, 0));
    if (operation.kind == Kind::kCopyRange) {
      operation.length = std::min<uint64_t>(operation.length, max_copy_bytes);
      if (++copies >= fail_copies_from && fail_copies_from != 0)
        return fail_later(operation, copy_error);
    }
    if (!operation.buffers.empty() &&
        blockcore::total_bytes(operation.buffers) > max_transfer_bytes)
      shorten(operation);
    ThreadEngine::submit(operation);
  }

 private:
  // Never before submit() returned.
  void fail_later(blockcore::IoOperation& operation, int error) {
    post([&operation, error] { finish(operation, -error); });
  }
  void shorten(blockcore::IoOperation& operation) {
    iovec& piece = pieces_[next_piece_++ % pieces_.size()];
    piece = operation.buffers.front();
    piece.iov_len = std::min(piece.iov_len, max_transfer_bytes);
    operation.buffers = {&piece, 1};
  }

  std::array<iovec, 1024> pieces_{};  // as many as a test has in flight
  size_t next_piece_ = 0;
};

}  // namespace hull::testing
