// An I/O engine as a host for event loops: network and entropy queues on the images' thread.
#pragma once

#include <utility>

#include "base/reactor.h"
#include "blockcore/engine/io_engine.h"

namespace hull::blockcore {

class EngineReactor final : public Reactor {
 public:
  // `engine` outlives it.
  explicit EngineReactor(IoEngine& engine) : engine_(engine) {}
  void post(std::function<void()> task) override { engine_.post(std::move(task)); }
  // An epoll descriptor is as good for an engine as an eventfd: it polls, and reads neither.
  Result<void> watch(int fd, std::function<void()> ready) override {
    return engine_.watch(fd, std::move(ready));
  }
  void unwatch(int fd) override { engine_.unwatch(fd); }

 private:
  IoEngine& engine_;
};

}  // namespace hull::blockcore
