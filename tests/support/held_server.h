// An NBD server over a disk in memory, whose answers the test can hold back.
#pragma once

#include <future>
#include <string>

#include "blockcore/engine/io_thread.h"
#include "blockcore/nbd/listener.h"
#include "blockcore/nbd/server.h"
#include "tests/support/memory_disk.h"
#include "tests/support/temporary_directory.h"

namespace hull::testing {

class HeldServer {
 public:
  explicit HeldServer(uint64_t size_bytes) : disk_(size_bytes) {
    blockcore::nbd::Export offer;
    offer.disk = &disk_;
    server_ = blockcore::nbd::Server::create(io_->engine(), std::move(offer), {}).value();
    CHECK(io_->start("nbd"));
    on_thread([this] { CHECK(server_->listen(listener_.take_socket())); });
  }
  ~HeldServer() {
    on_thread([this] { release(); });
    std::promise<void> stopped;
    io_->post([&] { blockcore::start_detached(stop(stopped)); });
    stopped.get_future().wait();
    io_->stop();
  }
  HeldServer(const HeldServer&) = delete;
  HeldServer& operator=(const HeldServer&) = delete;

  std::string url() const { return "nbd+unix:///?socket=" + directory_ / "socket"; }
  // From now on requests are taken and not answered.
  void hold() {
    on_thread([this] { disk_.is_held = true; });
  }
  void answer() {
    on_thread([this] { release(); });
  }
  // Reads and writes so far, and those of them that wait.
  unsigned requests() {
    unsigned count = 0;
    on_thread([&] { count = disk_.reads + disk_.writes; });
    return count;
  }
  size_t held_requests() {
    size_t count = 0;
    on_thread([&] { count = disk_.held_operations(); });
    return count;
  }

 private:
  void release() { disk_.release(); }
  blockcore::Task<void> stop(std::promise<void>& stopped) {
    co_await server_->stop();
    server_.reset();
    stopped.set_value();
  }
  void on_thread(const std::function<void()>& task) {
    std::promise<void> done;
    io_->post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }

  const TemporaryDirectory directory_;
  blockcore::nbd::UnixListener listener_ =
      blockcore::nbd::UnixListener::create(directory_ / "socket").value();
  MemoryDisk disk_;
  std::unique_ptr<blockcore::IoThread> io_ = blockcore::IoThread::create().value();
  std::unique_ptr<blockcore::nbd::Server> server_;
};

}  // namespace hull::testing
