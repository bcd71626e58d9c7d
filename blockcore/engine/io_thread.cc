#include "blockcore/engine/io_thread.h"

#include <pthread.h>

#include "blockcore/engine/signal_mask.h"

namespace hull::blockcore {

Result<std::unique_ptr<IoThread>> IoThread::create(IoEngineKind kind) {
  auto engine = TRY(IoEngine::create(kind));
  return std::unique_ptr<IoThread>(new IoThread(std::move(engine)));
}

void IoThread::start(const std::string& name, std::function<void()> on_thread) {
  CHECK(!running());
  const AllSignalsBlocked blocked;
  thread_ = std::thread([this, short_name = name.substr(0, 15), first = std::move(on_thread)] {
    pthread_setname_np(pthread_self(), short_name.c_str());
    if (first) first();
    engine_->run();
  });
}

void IoThread::stop() {
  if (!running()) return;
  engine_->stop();
  thread_.join();
}

}  // namespace hull::blockcore
