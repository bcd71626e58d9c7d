#include "virtio/block_session.h"

#include <algorithm>

#include "base/log.h"

namespace hull::virtio {

namespace {

// Requests taken from the ring before others on the same thread get a turn.
constexpr unsigned kMaxRequestsPerTurn = 64;
// More keeps no disk busier, and a reset waits for all of it.
constexpr uint64_t kMaxWorkBytes = 2 * kMaxTransferBytes;

}  // namespace

void BlockSession::start() {
  if (failed_ || serving_) return;
  // The kick only wakes the loop, which then gives everybody a turn.
  const auto watched = context_.engine.watch(kick_.fd(), [] {});
  if (!watched) return fail(watched.error().message());
  context_.engine.add_client(*this);
  serving_ = true;
}

void BlockSession::stop(std::shared_ptr<BlockSession> self, std::function<void()> stopped) {
  stop_serving();
  stopping_ = true;
  self_ = std::move(self);
  stopped_ = std::move(stopped);
  if (queue_.in_flight() == 0) end();
}

void BlockSession::pause(std::function<void()> paused) {
  stop_serving();
  paused_ = std::move(paused);
  if (queue_.in_flight() == 0) end_pause();
}

void BlockSession::end_pause() {
  // There is no turn any more that would do it.
  if (queue_.should_notify()) context_.interrupt.used_buffers(context_.queue_index);
  context_.engine.post(std::exchange(paused_, nullptr));
}

void BlockSession::resume() {
  paused_ = nullptr;
  start();
  // The driver may have had no reason to kick: it was told not to while the queue was served.
  kick_.signal();
}

// Not at once: this is called from functions of the session.
void BlockSession::end() {
  context_.engine.post([self = std::move(self_), stopped = std::move(stopped_)]() mutable {
    self.reset();
    stopped();
  });
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
  while (taken < kMaxRequestsPerTurn && !is_full()) {
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
  if (queue_.should_notify()) context_.interrupt.used_buffers(context_.queue_index);
  return taken != 0;
}

// While it is full a completion wakes the loop, and not the driver.
bool BlockSession::may_sleep() { return is_full() || queue_.enable_notifications(); }

bool BlockSession::is_full() const { return work_bytes_ >= kMaxWorkBytes; }

void BlockSession::begin(Chain chain) {
  if (idle_.empty()) {
    slots_.push_back(std::make_unique<Slot>());
    idle_.push_back(slots_.back().get());
  }
  Slot& slot = *idle_.back();
  idle_.pop_back();
  slot.request.parse(chain, context_.limits);
  slot.chain.emplace(std::move(chain));
  work_bytes_ += slot.request.work_bytes();
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

// In pieces, so that a device that has to stop need not wait for all of it. They end at multiples,
// lest a cluster of the image is in two of them.
blockcore::Task<Result<void>> BlockSession::serve_ranges(const BlockRequest& request) {
  for (const BlockRequest::Range& range : request.ranges) {
    for (uint64_t done = 0; done < range.length && !stopping_;) {
      const uint64_t offset = range.offset + done;
      const uint64_t length =
          std::min(range.length - done, kMaxTransferBytes - offset % kMaxTransferBytes);
      if (request.operation == BlockOperation::kDiscard) {
        CO_TRY_VOID(co_await context_.disk.discard(offset, length));
      } else {
        const bool may_unmap = range.may_unmap && context_.unmap;
        CO_TRY_VOID(co_await context_.disk.write_zeroes(offset, length, may_unmap));
      }
      done += length;
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
  if (!result && !stopping_) {
    LOG_LIMITED(LogLevel::kError, context_.name, "{}: {}", context_.name, result.error().message());
    if (context_.on_error) context_.on_error(result.error());
  }
  answer(slot, block_status(result));
}

void BlockSession::answer(Slot& slot, BlockStatus status) {
  Chain chain = *std::move(slot.chain);
  slot.chain.reset();
  work_bytes_ -= slot.request.work_bytes();
  if (stopping_) {
    // The driver has forgotten the buffer: nothing is written into its memory any more.
    queue_.discard(std::move(chain));
    if (queue_.in_flight() == 0) end();
    return;
  }
  const auto byte = static_cast<uint8_t>(status);
  if (slot.request.status_byte) CHECK(slot.request.status_byte->write({&byte, 1}));
  queue_.complete(std::move(chain), slot.request.written_bytes(status));
  idle_.push_back(&slot);
  if (paused_ && queue_.in_flight() == 0) end_pause();
}

void BlockSession::fail(std::string_view why) {
  LOG_LIMITED(LogLevel::kWarn, context_.name, "{}: stopped: {}", context_.name, why);
  failed_ = true;
  stop_serving();
  context_.interrupt.device_failed();
}

}  // namespace hull::virtio
