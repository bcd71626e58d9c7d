#include "virtio/block_session.h"

#include <algorithm>

#include "base/log.h"

namespace hull::virtio {

namespace {

// Requests taken from the ring before others on the same thread get a turn.
constexpr unsigned kMaxRequestsPerTurn = 64;

}  // namespace

void BlockSession::start() {
  // The kick only wakes the loop, which then gives everybody a turn.
  const auto watched = context_.engine.watch(kick_.fd(), [] {});
  if (!watched) return fail(watched.error().message());
  context_.engine.add_client(*this);
  serving_ = true;
}

void BlockSession::stop(std::binary_semaphore& drained) {
  stop_serving();
  drained_ = &drained;
  if (queue_.in_flight() == 0) drained.release();
}

void BlockSession::stop_serving() {
  if (!serving_) return;
  context_.engine.remove_client(*this);
  context_.engine.unwatch(kick_.fd());
  serving_ = false;
}

bool BlockSession::turn() {
  queue_.disable_notifications();
  unsigned taken = 0;
  while (taken < kMaxRequestsPerTurn) {
    auto chain = queue_.pop();
    if (!chain) {
      fail(describe(chain.error()));
      break;
    }
    if (!*chain) break;
    ++taken;
    begin(**std::move(chain));
  }
  // One decision for everything that was finished since the last turn.
  if (queue_.should_notify()) context_.interrupt.used_buffers(0);
  return taken != 0;
}

bool BlockSession::may_sleep() { return queue_.enable_notifications(); }

void BlockSession::begin(Chain chain) {
  if (idle_.empty()) {
    slots_.push_back(std::make_unique<Slot>());
    idle_.push_back(slots_.back().get());
  }
  Slot& slot = *idle_.back();
  idle_.pop_back();
  slot.request.parse(chain, context_.limits);
  slot.chain.emplace(std::move(chain));
  if (slot.request.operation == BlockOperation::kNothing)
    answer(slot, slot.request.status);
  else
    blockcore::start_detached(serve(slot));
}

blockcore::Task<void> BlockSession::serve(Slot& slot) {
  const BlockRequest& request = slot.request;
  Result<void> result;
  switch (request.operation) {
    case BlockOperation::kRead:
      result = co_await context_.disk.read(request.offset, request.buffers);
      break;
    case BlockOperation::kWrite:
      result = co_await context_.disk.write(request.offset, request.buffers);
      break;
    case BlockOperation::kFlush:
      // A disk that we never write has nothing to flush, and firmware flushes it all the same.
      if (!context_.limits.read_only) result = co_await context_.disk.flush();
      break;
    case BlockOperation::kDiscard:
    case BlockOperation::kWriteZeroes: result = co_await serve_ranges(request); break;
    case BlockOperation::kGetId: result = write_id(request); break;
    case BlockOperation::kNothing: break;
  }
  // 5.2.6.2: a driver without FLUSH counts on every completed write.
  const bool wrote = request.operation == BlockOperation::kWrite ||
                     request.operation == BlockOperation::kWriteZeroes;
  if (wrote && result && context_.write_through) result = co_await context_.disk.flush();
  finish(slot, result);
}

blockcore::Task<Result<void>> BlockSession::serve_ranges(const BlockRequest& request) {
  for (const BlockRequest::Range& range : request.ranges) {
    if (request.operation == BlockOperation::kDiscard) {
      CO_TRY_VOID(co_await context_.disk.discard(range.offset, range.length));
    } else {
      const bool may_unmap = range.may_unmap && context_.unmap;
      CO_TRY_VOID(co_await context_.disk.write_zeroes(range.offset, range.length, may_unmap));
    }
  }
  co_return Result<void>();
}

Result<void> BlockSession::write_id(const BlockRequest& request) {
  uint8_t id[kBlockIdBytes] = {};
  const std::string& serial = context_.serial;
  std::copy_n(serial.begin(), std::min(serial.size(), kBlockIdBytes), id);
  ChainWriter target = *request.id_target;
  CHECK(target.write(std::span(id).first(request.length)));
  return {};
}

void BlockSession::finish(Slot& slot, const Result<void>& result) {
  if (!result) LOG_LIMITED(LogLevel::kError, "{}: {}", context_.name, result.error().message());
  answer(slot, block_status(result));
}

void BlockSession::answer(Slot& slot, BlockStatus status) {
  Chain chain = *std::move(slot.chain);
  slot.chain.reset();
  if (drained_ != nullptr) {
    // The driver has forgotten the buffer: nothing is written into its memory any more.
    queue_.discard(std::move(chain));
    if (queue_.in_flight() == 0) drained_->release();
    return;
  }
  const auto byte = static_cast<uint8_t>(status);
  if (slot.request.status_byte) CHECK(slot.request.status_byte->write({&byte, 1}));
  queue_.complete(std::move(chain), slot.request.written_bytes(status));
  idle_.push_back(&slot);
}

void BlockSession::fail(std::string_view why) {
  LOG_LIMITED(LogLevel::kWarn, "{}: stopped: {}", context_.name, why);
  stop_serving();
  context_.interrupt.device_failed();
}

}  // namespace hull::virtio
