// The data path of a virtio block device (virtio 1.2, 5.2.6): takes requests from the ring, has the
// disk carry them out, answers.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blockcore/disk.h"
#include "blockcore/engine/io_engine.h"
#include "virtio/block_request.h"
#include "virtio/device.h"

namespace hull::virtio {

// Lives from activate() until it has stopped; every member function runs on the engine's thread.
class BlockSession : private blockcore::LoopClient {
 public:
  struct Context {
    const std::string& name;    // the device's, for messages
    const std::string& serial;  // at most 20 bytes are told
    blockcore::Disk& disk;
    blockcore::IoEngine& engine;
    DeviceInterrupt& interrupt;
    size_t queue_index;
    BlockLimits limits;
    bool unmap;          // WRITE_ZEROES may give space back
    bool write_through;  // the driver knows no FLUSH: each write is made durable (5.2.6.2)
    const std::function<void(const Error&)>& on_error;  // BlockOptions::on_error
  };
  BlockSession(Context context, QueueResources resources)
      : context_(context), queue_(std::move(resources.queue)), kick_(*resources.kick) {}

  void start();
  // Takes nothing more and answers nothing more. `self`, the last owner, is let go of once nothing
  // is in flight; then `stopped` is called.
  void stop(std::shared_ptr<BlockSession> self, std::function<void()> stopped);
  // What is in flight is answered; then `paused` is called, unless resume() comes before.
  void pause(std::function<void()> paused);
  void resume();
  // While paused, on any thread.
  QueuePosition position() const { return queue_.position(); }

 private:
  struct Slot {
    std::optional<Chain> chain;
    BlockRequest request;
  };

  bool turn() override;
  bool may_sleep() override;
  bool is_full() const;
  void stop_serving();
  void end();
  void end_pause();
  void begin(Chain chain);
  blockcore::Task<void> serve(Slot& slot);
  blockcore::Task<Result<void>> serve_ranges(const BlockRequest& request);
  Result<void> write_id(const BlockRequest& request);
  void finish(Slot& slot, const Result<void>& result);
  void answer(Slot& slot, BlockStatus status);
  void fail(std::string_view why);

  const Context context_;
  Queue queue_;
  const EventFd& kick_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> idle_;  // last in, first out: the warm one
  uint64_t work_bytes_ = 0;  // of the requests in flight
  bool serving_ = false;
  bool failed_ = false;
  bool stopping_ = false;
  std::function<void()> paused_;        // set: to be called when nothing is in flight
  std::shared_ptr<BlockSession> self_;  // while stopping
  std::function<void()> stopped_;
};

}  // namespace hull::virtio
