// A thread that drives one IoEngine: it owns the disks and queues that were opened on it.
//
//   auto io = TRY(IoThread::create());
//   auto disk = TRY(io->engine().run_until_done(open_disk(io->engine(), options)));  // this thread
//   TRY(io->start("io0"));     // from here on only the thread may use engine() and disk …
//   io->post([] { … });        // … and this is how to reach it
//   io->stop();                // finishes what is in flight, joins
//   io->engine().run_until_done(disk->close());                                      // this thread
#pragma once

#include <memory>
#include <string_view>

#include "base/thread.h"
#include "blockcore/engine/io_engine.h"

namespace hull::blockcore {

class IoThread {
 public:
  static Result<std::unique_ptr<IoThread>> create(IoEngineKind kind = IoEngineKind::kAutomatic);
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;
  ~IoThread() { stop(); }

  IoEngine& engine() { return *engine_; }

  // `name` as in /proc/PID/task/*/comm: 15 bytes are kept. kHost if the host refuses the thread.
  Result<void> start(std::string_view name);
  void post(std::function<void()> function) { engine_->post(std::move(function)); }  // any thread
  // Returns when everything in flight is finished and the thread is gone. Unwatch what brings work
  // before (post() a function that does). May be started again. The owner's thread only.
  void stop();
  bool running() const { return thread_.joinable(); }

 private:
  explicit IoThread(std::unique_ptr<IoEngine> engine) : engine_(std::move(engine)) {}

  std::unique_ptr<IoEngine> engine_;
  Thread thread_;
};

}  // namespace hull::blockcore
