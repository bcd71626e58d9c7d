#include <gtest/gtest.h>

#include <random>

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
  listen();
  auto disk = NbdDisk::open(*engine_, url(), {.reconnect = std::chrono::milliseconds(0)});
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
                         {.read_only = true,
                          .patience = std::chrono::milliseconds(patience_ms),
                          .reconnect = std::chrono::milliseconds(0)});
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

TEST_F(NbdLiar, ServerThatFallsSilentIsGivenUp) {
  NbdFakeServer server([](NbdClient& peer) {
    NbdFakeServer::shake_hands(peer);
    peer.wait_for_end();
  });
  const auto disk = NbdDisk::open(
      *engine_, server.url(),
      {.silence = std::chrono::milliseconds(50), .reconnect = std::chrono::milliseconds(0)});
  ASSERT_TRUE(disk) << disk.error().message();
  std::string data(512, '?');
  const iovec buffer{data.data(), data.size()};
  for (int again = 0; again < 2; ++again) {
    const auto got = engine_->run_until_done((*disk)->read(0, {&buffer, 1}));
    ASSERT_FALSE(got);
    EXPECT_NE(got.error().message().find("sent nothing"), std::string::npos)
        << got.error().message();
  }
}

// A server that takes whole blocks alone, and no more than so many at a time; tells only who asks.
class NbdBlocks : public ::testing::Test {
 protected:
  static constexpr uint64_t kBytes = 1 << 20;
  static constexpr uint32_t kBlock = 4096;
  static constexpr uint32_t kMost = 64 << 10;

  static bool greet(NbdClient& peer) {
    peer.send_message(ServerHello{kInitMagic, kOptionMagic, uint16_t{kFixedNewstyle | kNoZeroes}});
    (void)peer.receive(4);
    while (const auto header = peer.receive_message<OptionHeader>()) {
      const std::string asked = peer.receive(header->length);
      if (static_cast<Option>(header->option.get()) != Option::kGo) {
        NbdFakeServer::answer(peer, header->option, OptionReply::kErrUnsupported);
        continue;
      }
      const bool asks = asked.find(std::string("\0\3", 2), 4) != std::string::npos;
      std::string info;
      append_bytes(info, BlockSizeInfo{kInfoBlockSize, kBlock, kBlock, kMost});
      if (asks) NbdFakeServer::answer(peer, header->option, OptionReply::kInfo, info);
      info.clear();
      append_bytes(info,
                   ExportInfo{kInfoExport, kBytes,
                              uint16_t{kHasFlags | kSendFlush | kSendTrim | kSendWriteZeroes}});
      NbdFakeServer::answer(peer, header->option, OptionReply::kInfo, info);
      NbdFakeServer::answer(peer, header->option, OptionReply::kAck);
      return true;
    }
    return false;
  }
  void serve(NbdClient& peer) {
    if (!greet(peer)) return;
    while (const auto header = peer.receive_message<RequestHeader>()) {
      const auto command = static_cast<Command>(header->command.get());
      if (command == Command::kDisconnect) return;
      const uint64_t offset = header->offset;
      const uint32_t length = header->length;
      const bool moves = command == Command::kRead || command == Command::kWrite;
      const bool refused = offset % kBlock != 0 || length % kBlock != 0 ||
                           offset + length > kBytes || (moves && length > kMost);
      if (refused) ++refused_;
      if (command == Command::kWrite) {
        const std::string data = peer.receive(length);
        if (!refused) bytes_.replace(offset, length, data);
      }
      if (command == Command::kWriteZeroes && !refused)
        bytes_.replace(offset, length, std::string(length, '\0'));
      peer.send_message(SimpleReplyHeader{kSimpleReplyMagic, refused ? 22U : 0U, header->cookie});
      if (command == Command::kRead && !refused) peer.send(bytes_.substr(offset, length));
    }
  }

  std::string bytes_ = std::string(kBytes, 'o');  // the server's, until it has ended
  unsigned refused_ = 0;
  std::unique_ptr<IoEngine> engine_ = IoEngine::create(IoEngineKind::kThreads).value();
};

TEST_F(NbdBlocks, SizesOfTheServerAreKept) {
  std::string model = bytes_;
  {
    NbdFakeServer server([this](NbdClient& peer) { serve(peer); });
    const auto disk = NbdDisk::open(*engine_, server.url(), {});
    ASSERT_TRUE(disk) << disk.error().message();
    EXPECT_EQ((*disk)->alignment_bytes(), kBlock);
    std::mt19937 random(3);
    for (unsigned i = 0; i < 60; ++i) {
      const uint64_t unit = i % 3 == 0 ? kBlock : 1;
      const uint64_t offset = random() % (kBytes / unit) * unit;
      const uint64_t length = std::min<uint64_t>(kBytes - offset, random() % 300'000 / unit * unit);
      std::string data(length, static_cast<char>('A' + i));
      const iovec buffer{data.data(), data.size()};
      if (i % 4 == 1) {
        ASSERT_TRUE(engine_->run_until_done((*disk)->write_zeroes(offset, length, true)));
        data.assign(length, '\0');
      } else if (i % 4 == 2) {
        ASSERT_TRUE(engine_->run_until_done((*disk)->discard(offset, length)));
        continue;
      } else {
        ASSERT_TRUE(engine_->run_until_done((*disk)->write(offset, {&buffer, 1})));
      }
      model.replace(offset, length, data);
      data.assign(length, '?');
      ASSERT_TRUE(engine_->run_until_done((*disk)->read(offset, {&buffer, 1})));
      ASSERT_TRUE(data == model.substr(offset, length)) << i;
    }
  }
  EXPECT_EQ(refused_, 0U);
  EXPECT_TRUE(bytes_ == model);
}

// Neighbours in one block that are in flight together.
TEST_F(NbdBlocks, NeighboursInOneBlockAllArrive) {
  std::string model = bytes_;
  {
    NbdFakeServer server([this](NbdClient& peer) { serve(peer); });
    const auto disk = NbdDisk::open(*engine_, server.url(), {});
    ASSERT_TRUE(disk) << disk.error().message();
    constexpr size_t kPiece = 100;
    constexpr size_t kPieces = 150;
    unsigned finished = 0;
    std::string pieces;
    for (size_t i = 0; i < kPieces; ++i) pieces.append(kPiece, static_cast<char>('a' + i % 26));
    const auto one = [&](size_t i) -> Task<void> {
      const iovec buffer{pieces.data() + i * kPiece, kPiece};
      auto change = i % 3 == 0 ? (*disk)->write_zeroes(i * kPiece, kPiece, true)
                               : (*disk)->write(i * kPiece, {&buffer, 1});
      EXPECT_TRUE(co_await std::move(change));
      ++finished;
    };
    const auto all = [&]() -> Task<void> {
      for (size_t i = 0; i < kPieces; ++i) start_detached(one(i));
      while (finished < kPieces) {
        const auto flushed = co_await (*disk)->flush();
        EXPECT_TRUE(flushed);
      }
    };
    engine_->run_until_done(all());
    for (size_t i = 0; i < kPieces; i += 3)
      pieces.replace(i * kPiece, kPiece, std::string(kPiece, '\0'));
    model.replace(0, pieces.size(), pieces);
  }
  EXPECT_TRUE(bytes_ == model);
}

TEST_F(NbdLiar, SilentServerIsATimeout) {
  NbdFakeServer server([](NbdClient& peer) { peer.wait_for_end(); });
  const auto disk = open(server.url(), 30);
  ASSERT_FALSE(disk);
  EXPECT_EQ(disk.error().kind(), ErrorKind::kTimeout);
}

}  // namespace
}  // namespace hull::blockcore::nbd
