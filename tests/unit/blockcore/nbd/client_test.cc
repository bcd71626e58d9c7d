#include <gtest/gtest.h>

#include "blockcore/nbd/listener.h"
#include "blockcore/nbd/nbd_disk.h"
#include "blockcore/open.h"
#include "tests/support/nbd_fake_server.h"
#include "tests/support/nbd_server_fixture.h"

namespace hull::blockcore::nbd {
namespace {

using testing::NbdClient;
using testing::NbdFakeServer;

// ---- Against the real server.

class NbdDiskTest : public testing::NbdServerTest {
 protected:
  void SetUp() override {
    NbdServerTest::SetUp();
    if (IsSkipped()) return;
    engine_ = IoEngine::create(GetParam()).value();
  }
  void listen() {
    start();
    listener_.emplace(UnixListener::create(directory_ / "socket").value());
    std::promise<void> listening;
    io_->post([&] {
      EXPECT_TRUE(server_->listen(listener_->take_socket()));
      listening.set_value();
    });
    listening.get_future().wait();
  }
  std::string url(const std::string& name = "") const {
    return "nbd+unix:///" + name + "?socket=" + directory_ / "socket";
  }
  Result<std::unique_ptr<Disk>> open(OpenOptions options) {
    if (server_ == nullptr) listen();
    return engine_->run_until_done(open_disk(*engine_, std::move(options)));
  }
  Result<void> write(Disk& disk, uint64_t offset, std::string data) {
    const iovec buffer{data.data(), data.size()};
    return engine_->run_until_done(disk.write(offset, {&buffer, 1}));
  }
  std::string read(Disk& disk, uint64_t offset, size_t length) {
    std::string data(length, '?');
    const iovec buffers[] = {{data.data(), length / 3},
                             {data.data() + length / 3, length - length / 3}};
    const auto got = engine_->run_until_done(disk.read(offset, buffers));
    EXPECT_TRUE(got) << got.error().message();
    return data;
  }

  testing::TemporaryDirectory directory_;
  std::optional<UnixListener> listener_;
  std::unique_ptr<IoEngine> engine_;
};

TEST_P(NbdDiskTest, WhatIsWrittenIsReadBack) {
  auto disk = open({.path = url(), .unmap = true});
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_EQ((*disk)->size_bytes(), 64U << 10);
  EXPECT_TRUE((*disk)->can_discard());
  const std::string data = std::string(30'000, 'a') + std::string(10'000, 'b');
  EXPECT_TRUE(write(**disk, 1001, data));
  EXPECT_EQ(read(**disk, 1000, 40'002), '\0' + data + '\0');
  EXPECT_TRUE(engine_->run_until_done((*disk)->write_zeroes(1001, 5, true)));
  EXPECT_TRUE(engine_->run_until_done((*disk)->discard(8192, 4096)));
  EXPECT_EQ(read(**disk, 1000, 7), std::string(6, '\0') + 'a');
  EXPECT_TRUE(engine_->run_until_done((*disk)->close()));
  stop();
  EXPECT_EQ(disk_.flushes, 1U);
  EXPECT_EQ(disk_.discards, 1U);
}

TEST_P(NbdDiskTest, ManyRequestsAreInFlightTogether) {
  auto disk = open({.path = url()});
  ASSERT_TRUE(disk);
  unsigned finished = 0;
  const auto one = [&](uint64_t index) -> Task<void> {
    std::string data(512, static_cast<char>(index));
    const iovec out{data.data(), data.size()};
    EXPECT_TRUE(co_await (*disk)->write(index * 512, {&out, 1}));
    std::string back(512, '?');
    const iovec in{back.data(), back.size()};
    EXPECT_TRUE(co_await (*disk)->read(index * 512, {&in, 1}));
    EXPECT_EQ(back, data);
    ++finished;
  };
  const auto all = [&]() -> Task<void> {
    for (uint64_t i = 0; i < 100; ++i) start_detached(one(i));
    while (finished < 100) {
      const auto flushed = co_await (*disk)->flush();
      EXPECT_TRUE(flushed);
    }
  };
  engine_->run_until_done(all());
  EXPECT_EQ(finished, 100U);
}

TEST_P(NbdDiskTest, BlockStatusIsTheServers) {
  auto disk = open({.path = url()});
  ASSERT_TRUE(disk);
  const auto status = [&](uint64_t offset, uint64_t length) {
    return engine_->run_until_done((*disk)->block_status(offset, length)).value();
  };
  EXPECT_EQ(status(0, 65'536).length, 4096U);
  EXPECT_TRUE(status(0, 65'536).data);
  EXPECT_EQ(status(5000, 65'536 - 5000).length, 8192U - 904);
  EXPECT_TRUE(status(5000, 60'000).zero);
  EXPECT_FALSE(status(5000, 60'000).data);
  EXPECT_EQ(status(5000, 100).length, 100U);
}

TEST_P(NbdDiskTest, ErrorsOfTheServersDiskLeaveTheConnection) {
  disk_.error = ENOSPC;
  auto disk = open({.path = url()});
  ASSERT_TRUE(disk);
  const auto written = write(**disk, 0, "x");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().error_number(), ENOSPC);
  EXPECT_EQ(engine_->run_until_done((*disk)->block_status(0, 1))->length, 1U);
}

TEST_P(NbdDiskTest, FailedFlushFailsForEver) {
  disk_.error = EIO;
  auto disk = open({.path = url()});
  ASSERT_TRUE(disk);
  EXPECT_FALSE(engine_->run_until_done((*disk)->flush()));
  std::promise<void> repaired;
  io_->post([&] {
    disk_.error = 0;
    repaired.set_value();
  });
  repaired.get_future().wait();
  EXPECT_TRUE(write(**disk, 0, "x"));
  EXPECT_FALSE(engine_->run_until_done((*disk)->flush()));
}

TEST_P(NbdDiskTest, LostConnectionIsAnErrorForEver) {
  auto disk = open({.path = url()});
  ASSERT_TRUE(disk);
  EXPECT_EQ(read(**disk, 0, 3), std::string(3, '\0'));
  stop();
  for (int i = 0; i < 3; ++i) {
    const auto written = write(**disk, 0, "x");
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().error_number(), EIO);
  }
  EXPECT_FALSE(engine_->run_until_done((*disk)->close()));
}

TEST_P(NbdDiskTest, ReadOnlyExportCannotBeOpenedForWriting) {
  offer_.read_only = true;
  options_.max_connections = 8;
  EXPECT_FALSE(open({.path = url()}));
  auto disk = open({.path = url(), .read_only = true});
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_TRUE((*disk)->read_only());
}

TEST_P(NbdDiskTest, UnknownExportAndOtherFormatsAreRefused) {
  const auto unknown = open({.path = url("other")});
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message().find("no export 'other'"), std::string::npos);
  EXPECT_FALSE(open({.path = url(), .format = DiskFormat::kQcow2}));
  EXPECT_FALSE(open({.path = "nbds://127.0.0.1/"}));
}

INSTANTIATE_TEST_SUITE_P(Engines, NbdDiskTest,
                         ::testing::Values(IoEngineKind::kUring, IoEngineKind::kThreads),
                         [](const auto& engine) {
                           return engine.param == IoEngineKind::kUring ? "Uring" : "Threads";
                         });

// ---- Against servers that lie.

class NbdLiar : public ::testing::Test {
 protected:
  Result<std::unique_ptr<NbdDisk>> open(const std::string& url, int patience_ms = 10'000) {
    return NbdDisk::open(*engine_, url,
                         {.read_only = true, .patience = std::chrono::milliseconds(patience_ms)});
  }
  // What becomes of a read of 512 bytes at 1024, with cookie known to `reply`, and of one after it.
  void expect_lost(const std::function<std::string(uint64_t cookie)>& reply, bool status = false) {
    NbdFakeServer server([&](NbdClient& peer) {
      NbdFakeServer::shake_hands(peer);
      if (const auto request = peer.receive_message<RequestHeader>())
        peer.send(reply(request->cookie));
      peer.wait_for_end();
    });
    const auto disk = open(server.url());
    ASSERT_TRUE(disk) << disk.error().message();
    for (int i = 0; i < 2; ++i) {
      if (status) {
        EXPECT_FALSE(engine_->run_until_done((*disk)->block_status(1024, 512)));
        continue;
      }
      std::string data(512, '?');
      const iovec buffer{data.data(), data.size()};
      EXPECT_FALSE(engine_->run_until_done((*disk)->read(1024, {&buffer, 1})));
    }
  }
  std::string chunk(uint64_t cookie, Chunk type, uint16_t flags, std::string_view payload,
                    std::optional<uint32_t> length = std::nullopt) {
    std::string bytes;
    append_bytes(bytes,
                 ChunkHeader{kStructuredReplyMagic, flags, static_cast<uint16_t>(type), cookie,
                             length.value_or(static_cast<uint32_t>(payload.size()))});
    return bytes.append(payload);
  }
  static std::string data_at(uint64_t offset, size_t length) {
    std::string payload;
    append_bytes(payload, Be64(offset));
    return payload.append(length, 'd');
  }
  static std::string hole_at(uint64_t offset, uint32_t length) {
    std::string payload;
    append_bytes(payload, Be64(offset));
    append_bytes(payload, Be32(length));
    return payload;
  }
  static std::string extents(uint32_t context, std::initializer_list<uint32_t> lengths) {
    std::string payload;
    append_bytes(payload, Be32(context));
    for (const uint32_t length : lengths) append_bytes(payload, ExtentDescriptor{length, 0U});
    return payload;
  }

  std::unique_ptr<IoEngine> engine_ = IoEngine::create(IoEngineKind::kThreads).value();
};

TEST_F(NbdLiar, PiecesInAnyOrderMakeARead) {
  NbdFakeServer server([&](NbdClient& peer) {
    NbdFakeServer::shake_hands(peer);
    const auto request = peer.receive_message<RequestHeader>();
    ASSERT_TRUE(request);
    const uint64_t cookie = request->cookie;
    peer.send(chunk(cookie, Chunk::kOffsetData, 0, data_at(1280, 256)) +
              chunk(cookie, Chunk::kOffsetHole, 0, hole_at(1024, 100)) +
              chunk(cookie, Chunk::kOffsetData, 0, data_at(1124, 156)) +
              chunk(cookie, Chunk::kNone, kChunkDone, ""));
    peer.wait_for_end();
  });
  const auto disk = open(server.url());
  ASSERT_TRUE(disk);
  std::string data(512, '?');
  const iovec buffer{data.data(), data.size()};
  EXPECT_TRUE(engine_->run_until_done((*disk)->read(1024, {&buffer, 1})));
  EXPECT_EQ(data, std::string(100, '\0') + std::string(412, 'd'));
}

TEST_F(NbdLiar, RepliesToNothingLoseTheConnection) {
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie + 1, Chunk::kOffsetData, kChunkDone, data_at(1024, 512));
  });
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie + (uint64_t{1} << 32), Chunk::kOffsetData, kChunkDone, data_at(1024, 512));
  });
  expect_lost([&](uint64_t) { return std::string(64, 'x'); });
}

TEST_F(NbdLiar, SimpleReplyToAReadLosesTheConnection) {
  expect_lost([&](uint64_t cookie) {
    std::string bytes;
    append_bytes(bytes, SimpleReplyHeader{kSimpleReplyMagic, 0U, cookie});
    return bytes + std::string(512, 'd');
  });
}

TEST_F(NbdLiar, DataThatNobodyAskedForLosesTheConnection) {
  for (const std::string& payload : {data_at(1023, 512), data_at(1025, 512), data_at(UINT64_MAX, 2),
                                     data_at(1024, 513), data_at(1024, 0), std::string("short")})
    expect_lost(
        [&](uint64_t cookie) { return chunk(cookie, Chunk::kOffsetData, kChunkDone, payload); });
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie, Chunk::kOffsetData, kChunkDone, data_at(1024, 8), 0xffffffff);
  });
}

TEST_F(NbdLiar, GapsAndOverlapsLoseTheConnection) {
  expect_lost([&](uint64_t cookie) { return chunk(cookie, Chunk::kNone, kChunkDone, ""); });
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie, Chunk::kOffsetData, kChunkDone, data_at(1024, 511));
  });
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie, Chunk::kOffsetData, 0, data_at(1024, 300)) +
           chunk(cookie, Chunk::kOffsetData, kChunkDone, data_at(1300, 212));
  });
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie, Chunk::kOffsetHole, kChunkDone, hole_at(1024, 0));
  });
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie, Chunk::kOffsetHole, kChunkDone, hole_at(1024, 513));
  });
}

TEST_F(NbdLiar, MalformedChunksLoseTheConnection) {
  expect_lost([&](uint64_t cookie) { return chunk(cookie, Chunk::kNone, 0, ""); });
  expect_lost([&](uint64_t cookie) { return chunk(cookie, Chunk::kNone, kChunkDone, "x"); });
  expect_lost([&](uint64_t cookie) { return chunk(cookie, Chunk{77}, kChunkDone, "x"); });
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie, Chunk::kError, kChunkDone, std::string("\0\0\0\0\0\0", 6));
  });
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie, Chunk::kError, kChunkDone, std::string("\0\0\0\5\0\5", 6));
  });
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie, Chunk::kErrorOffset, kChunkDone, "", 0x7fffffff);
  });
  expect_lost([&](uint64_t cookie) {
    return chunk(cookie, Chunk::kBlockStatus, kChunkDone, extents(5, {512}));
  });
}

TEST_F(NbdLiar, BadBlockStatusLosesTheConnection) {
  for (const std::string& payload :
       {extents(5, {}), extents(6, {512}), extents(5, {0}), extents(5, {64 << 10, 1}),
        extents(5, {512}) + "x", std::string("xx")})
    expect_lost(
        [&](uint64_t cookie) { return chunk(cookie, Chunk::kBlockStatus, kChunkDone, payload); },
        true);
  expect_lost([&](uint64_t cookie) { return chunk(cookie, Chunk::kNone, kChunkDone, ""); }, true);
}

TEST_F(NbdLiar, LastExtentMayReachBeyondTheRequest) {
  NbdFakeServer server([&](NbdClient& peer) {
    NbdFakeServer::shake_hands(peer);
    const auto request = peer.receive_message<RequestHeader>();
    ASSERT_TRUE(request);
    peer.send(chunk(request->cookie, Chunk::kBlockStatus, kChunkDone, extents(5, {1 << 30})));
    peer.wait_for_end();
  });
  const auto disk = open(server.url());
  ASSERT_TRUE(disk);
  EXPECT_EQ(engine_->run_until_done((*disk)->block_status(1024, 512))->length, 512U);
}

TEST_F(NbdLiar, OddHandshakesAreRefused) {
  const auto refused = [&](const std::function<void(NbdClient&)>& script) {
    NbdFakeServer server([&](NbdClient& peer) {
      script(peer);
      peer.shut_down_writing();
      peer.wait_for_end();
    });
    const auto disk = open(server.url());
    return !disk;
  };
  const auto hello = [](NbdClient& peer) {
    peer.send_message(ServerHello{kInitMagic, kOptionMagic, kFixedNewstyle});
    (void)peer.receive(4 + sizeof(OptionHeader));
  };
  EXPECT_TRUE(refused([](NbdClient&) {}));
  EXPECT_TRUE(refused([](NbdClient& peer) { peer.send("SSH-2.0-OpenSSH_9.2p1 Debian\r\n"); }));
  EXPECT_TRUE(refused([](NbdClient& peer) {
    peer.send_message(ServerHello{kInitMagic, uint64_t{0x00420281861253}, uint16_t{0}});
  }));
  EXPECT_TRUE(refused([](NbdClient& peer) {
    peer.send_message(ServerHello{kInitMagic, kOptionMagic, uint16_t{0}});
  }));
  EXPECT_TRUE(refused([&](NbdClient& peer) {
    hello(peer);
    NbdFakeServer::answer(peer, 99, OptionReply::kAck);
  }));
  EXPECT_TRUE(refused([&](NbdClient& peer) {
    hello(peer);
    NbdFakeServer::answer(peer, 8, OptionReply::kErrTlsRequired);
  }));
  EXPECT_TRUE(refused([&](NbdClient& peer) {
    hello(peer);
    peer.send_message(OptionReplyHeader{kOptionReplyMagic, 8U, 0x80000001U, 0xffffffffU});
  }));
  EXPECT_TRUE(refused([&](NbdClient& peer) { NbdFakeServer::shake_hands(peer, 0); }));
}

TEST_F(NbdLiar, SilentServerIsATimeout) {
  NbdFakeServer server([](NbdClient& peer) { peer.wait_for_end(); });
  const auto disk = open(server.url(), 30);
  ASSERT_FALSE(disk);
  EXPECT_EQ(disk.error().kind(), ErrorKind::kTimeout);
}

}  // namespace
}  // namespace hull::blockcore::nbd
