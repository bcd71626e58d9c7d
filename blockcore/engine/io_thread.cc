#include "blockcore/engine/io_thread.h"

namespace hull::blockcore {

Result<std::unique_ptr<IoThread>> IoThread::create(IoEngineKind kind) {
  auto engine = TRY(IoEngine::create(kind));
  return std::unique_ptr<IoThread>(new IoThread(std::move(engine)));
}

Result<void> IoThread::start(std::string_view name) {
  CHECK(!running());
  thread_ = TRY(start_thread(ThreadKind::kBlock, name, [this] { engine_->run(); }));
  return {};
}

void IoThread::stop() {
  if (!running()) return;
  engine_->stop();
  thread_.join();
}

}  // namespace hull::blockcore
