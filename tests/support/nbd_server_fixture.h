// An NBD server over a disk in memory, on a thread of its own, for both engines.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>

#include "blockcore/engine/io_thread.h"
#include "blockcore/nbd/meta_contexts.h"
#include "blockcore/nbd/server.h"
#include "tests/support/memory_disk.h"
#include "tests/support/nbd_client.h"
#include "tests/support/socket_pair.h"

namespace hull::testing {

// 64 KiB whose blocks of 4 KiB are data, zeros and holes in turn.
class StripedDisk : public MemoryDisk {
 public:
  StripedDisk() : MemoryDisk(64 << 10) {}
  blockcore::Task<Result<blockcore::BlockStatus>> block_status(uint64_t offset,
                                                               uint64_t length) override {
    const uint64_t block = offset / 4096;
    co_return blockcore::BlockStatus{.length = std::min(length, 4096 - offset % 4096),
                                     .data = block % 3 == 0,
                                     .zero = block % 3 != 0,
                                     .present = block % 3 != 2,
                                     .depth = 1};
  }
};

class NbdServerTest : public ::testing::TestWithParam<blockcore::IoEngineKind> {
 protected:
  void SetUp() override {
    auto io = blockcore::IoThread::create(GetParam());
    if (!io && io.error().kind() == ErrorKind::kHost) GTEST_SKIP() << io.error().message();
    ASSERT_TRUE(io);
    io_ = *std::move(io);
    offer_.disk = &disk_;
    offer_.contexts.push_back(blockcore::nbd::make_allocation_context(disk_));
    offer_.contexts.push_back(blockcore::nbd::make_depth_context(disk_));
  }
  void TearDown() override { stop(); }

  // Before the first client; afterwards disk_ belongs to the server's thread.
  void start() {
    server_ = blockcore::nbd::Server::create(io_->engine(), std::move(offer_), options_).value();
    ASSERT_TRUE(io_->start("nbd"));
  }
  NbdClient connect() {
    if (server_ == nullptr) start();
    auto pair = std::make_shared<SocketPair>();
    NbdClient client(std::move(pair->theirs));
    io_->post([this, pair] { server_->adopt(std::move(pair->ours)); });
    return client;
  }
  NbdClient connect_and_go(bool structured) {
    NbdClient client = connect();
    EXPECT_TRUE(client.go(structured));
    return client;
  }
  void begin_stop() {
    io_->post([this] { blockcore::start_detached(end()); });
    stopping_ = true;
  }
  // Afterwards disk_ belongs to the test.
  void stop() {
    if (server_ == nullptr) return;
    if (!stopping_) begin_stop();
    ended_.get_future().wait();
    io_->stop();
    server_.reset();
  }

  StripedDisk disk_;
  blockcore::nbd::Export offer_;
  blockcore::nbd::ServerOptions options_{.max_connections = 8};
  std::unique_ptr<blockcore::IoThread> io_;
  std::unique_ptr<blockcore::nbd::Server> server_;

 private:
  blockcore::Task<void> end() {
    co_await server_->stop();
    ended_.set_value();
  }
  std::promise<void> ended_;
  bool stopping_ = false;
};

}  // namespace hull::testing
