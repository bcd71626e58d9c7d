#include "blockcore/nbd/server.h"

#include <gtest/gtest.h>

#include <functional>

#include "blockcore/engine/iovecs.h"
#include "blockcore/nbd/listener.h"
#include "blockcore/nbd/server_request.h"
#include "tests/support/nbd_server_fixture.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore::nbd {
namespace {

using testing::NbdClient;

constexpr uint32_t kPermission = static_cast<uint32_t>(WireError::kPermission);
constexpr uint32_t kIo = static_cast<uint32_t>(WireError::kIo);
constexpr uint32_t kInvalid = static_cast<uint32_t>(WireError::kInvalid);
constexpr uint32_t kNoSpace = static_cast<uint32_t>(WireError::kNoSpace);
constexpr uint32_t kNotSupported = static_cast<uint32_t>(WireError::kNotSupported);

class NbdServer : public testing::NbdServerTest {
 protected:
  // Structured replies and base:allocation, perhaps also qemu:allocation-depth.
  NbdClient connect_for_status(bool depth) {
    NbdClient client = connect();
    EXPECT_TRUE(client.greet());
    (void)client.ask(Option::kStructuredReply);
    std::string request(4, '\0');
    append_bytes(request, Be32(depth ? 2U : 1U));
    for (const std::string_view name : {kAllocationContext, kDepthContext}) {
      if (name == kDepthContext && !depth) break;
      append_bytes(request, Be32(static_cast<uint32_t>(name.size())));
      request += name;
    }
    (void)client.ask(Option::kSetMetaContext, request);
    EXPECT_TRUE(client.go_only());
    return client;
  }

  // Until the disk has seen so many reads.
  void wait_for_reads(unsigned count) {
    std::promise<void> seen;
    const std::function<void()> look = [&] {
      if (disk_.reads >= count)
        seen.set_value();
      else
        io_->post(look);
    };
    io_->post(look);
    seen.get_future().wait();
  }
};

// With the cookies 0, 1, …; one message, because each one costs a socket's buffer far more than its
// length.
std::string requests(uint64_t count, Command command, uint32_t length) {
  std::string bytes;
  for (uint64_t cookie = 0; cookie < count; ++cookie)
    append_bytes(bytes, RequestHeader{kRequestMagic, uint16_t{0}, static_cast<uint16_t>(command),
                                      cookie, uint64_t{0}, length});
  return bytes;
}

// (length, flags) of a block status chunk's descriptors.
std::vector<std::pair<uint32_t, uint32_t>> descriptors(const std::string& payload) {
  std::vector<std::pair<uint32_t, uint32_t>> extents;
  for (size_t at = 4; at + sizeof(ExtentDescriptor) <= payload.size();
       at += sizeof(ExtentDescriptor)) {
    ExtentDescriptor extent;
    std::memcpy(&extent, payload.data() + at, sizeof extent);
    extents.emplace_back(extent.length, extent.flags);
  }
  return extents;
}

TEST_P(NbdServer, WhatIsWrittenIsReadBack) {
  NbdClient client = connect_and_go(false);
  client.request(Command::kWrite, 1000, 5);
  client.send("hello");
  EXPECT_EQ(client.simple_reply(), 0U);
  client.request(Command::kRead, 999, 7);
  EXPECT_EQ(client.simple_reply(), 0U);
  EXPECT_EQ(client.receive(7), std::string("\0hello\0", 7));
  stop();
  EXPECT_EQ(disk_.flushes, 0U);
}

TEST_P(NbdServer, LargeTransfersPassWhole) {
  NbdClient client = connect_and_go(true);
  std::string data(60'000, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7 + i / 256);
  client.request(Command::kWrite, 3, static_cast<uint32_t>(data.size()));
  client.send(data);
  EXPECT_EQ(client.simple_reply(), 0U);
  client.request(Command::kRead, 3, static_cast<uint32_t>(data.size()), kCommandDf);
  const auto chunk = client.chunk();
  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->type, Chunk::kOffsetData);
  EXPECT_TRUE(chunk->last);
  EXPECT_EQ(chunk->payload, std::string("\0\0\0\0\0\0\0\3", 8) + data);
}

TEST_P(NbdServer, EmptyReadHasNoContent) {
  NbdClient client = connect_and_go(true);
  client.request(Command::kRead, 0, 0);
  const auto chunk = client.chunk();
  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->type, Chunk::kNone);
  EXPECT_TRUE(chunk->last);
}

TEST_P(NbdServer, FuaFlushesBeforeTheReply) {
  NbdClient client = connect_and_go(false);
  client.request(Command::kWrite, 0, 1, kCommandFua);
  client.send("x");
  EXPECT_EQ(client.simple_reply(), 0U);
  client.request(Command::kTrim, 0, 4096, kCommandFua);
  EXPECT_EQ(client.simple_reply(), 0U);
  client.request(Command::kFlush, 0, 0, kCommandFua);
  EXPECT_EQ(client.simple_reply(), 0U);
  client.request(Command::kRead, 0, 0, kCommandFua);
  EXPECT_EQ(client.simple_reply(), 0U);
  stop();
  EXPECT_EQ(disk_.flushes, 3U);
  EXPECT_EQ(disk_.discards, 1U);
}

TEST_P(NbdServer, ZeroesMayUnmapUnlessNoHole) {
  NbdClient client = connect_and_go(false);
  client.request(Command::kWriteZeroes, 0, 4096);
  EXPECT_EQ(client.simple_reply(), 0U);
  client.request(Command::kWriteZeroes, 0, 4096, kCommandFastZero);
  EXPECT_EQ(client.simple_reply(), kNotSupported);
  stop();
  EXPECT_EQ(disk_.zeroes, 1U);
  EXPECT_TRUE(disk_.unmapped);
}

TEST_P(NbdServer, NoHoleKeepsTheSpace) {
  NbdClient client = connect_and_go(false);
  client.request(Command::kWriteZeroes, 0, 4096, kCommandNoHole);
  EXPECT_EQ(client.simple_reply(), 0U);
  stop();
  EXPECT_EQ(disk_.zeroes, 1U);
  EXPECT_FALSE(disk_.unmapped);
}

TEST_P(NbdServer, CacheReadsAndSendsNothing) {
  NbdClient client = connect_and_go(false);
  client.request(Command::kCache, 0, 64 << 10);
  EXPECT_EQ(client.simple_reply(), 0U);
  stop();
  EXPECT_EQ(disk_.reads, 1U);
}

TEST_P(NbdServer, RangesOutsideAreRefusedAndThePayloadSkipped) {
  NbdClient client = connect_and_go(false);
  client.request(Command::kRead, 65'536, 1);
  EXPECT_EQ(client.simple_reply(), kInvalid);
  client.request(Command::kRead, UINT64_MAX, 2);
  EXPECT_EQ(client.simple_reply(), kInvalid);
  client.request(Command::kWrite, 65'535, 40'000);
  client.send(std::string(40'000, 'x'));
  EXPECT_EQ(client.simple_reply(), kNoSpace);
  client.request(Command::kWriteZeroes, 1, 0xffffffff);
  EXPECT_EQ(client.simple_reply(), kNoSpace);
  client.request(Command::kTrim, 65'536, 0xffffffff);
  EXPECT_EQ(client.simple_reply(), kInvalid);
  client.request(Command::kFlush, 0, 0);
  EXPECT_EQ(client.simple_reply(), 0U);
  stop();
  EXPECT_EQ(disk_.writes + disk_.zeroes + disk_.discards + disk_.reads, 0U);
}

TEST_P(NbdServer, UnknownCommandsAndFlagsAreInvalid) {
  NbdClient client = connect_and_go(false);
  client.request(static_cast<Command>(8), 0, 0);
  EXPECT_EQ(client.simple_reply(), kInvalid);
  client.request(static_cast<Command>(0xffff), UINT64_MAX, UINT32_MAX);
  EXPECT_EQ(client.simple_reply(), kInvalid);
  client.request(Command::kRead, 0, 4096, kCommandNoHole);
  EXPECT_EQ(client.simple_reply(), kInvalid);
  client.request(Command::kRead, 0, 4096, kCommandDf);  // without structured replies
  EXPECT_EQ(client.simple_reply(), kInvalid);
  client.request(Command::kFlush, 0, 0, 1U << 15);
  EXPECT_EQ(client.simple_reply(), kInvalid);
  client.request(Command::kRead, 0, kMaxDataBytes + 1);
  EXPECT_EQ(client.simple_reply(), kInvalid);
  client.request(Command::kFlush, 0, 0);
  EXPECT_EQ(client.simple_reply(), 0U);
}

TEST_P(NbdServer, ReadOnlyExportCannotBeChanged) {
  offer_.read_only = true;
  NbdClient client = connect_and_go(true);
  client.request(Command::kWrite, 0, 3);
  client.send("abc");
  EXPECT_EQ(client.error_chunk(), kPermission);
  client.request(Command::kTrim, 0, 4096);
  EXPECT_EQ(client.error_chunk(), kPermission);
  client.request(Command::kWriteZeroes, 0, 4096);
  EXPECT_EQ(client.error_chunk(), kPermission);
  client.request(Command::kFlush, 0, 0);
  EXPECT_EQ(client.simple_reply(), 0U);
}

TEST_P(NbdServer, FailuresOfTheDiskAreErrorsAndNotTheEnd) {
  disk_.error = EIO;
  NbdClient client = connect_and_go(true);
  client.request(Command::kRead, 0, 512);
  EXPECT_EQ(client.error_chunk(), kIo);
  client.request(Command::kWrite, 0, 1);
  client.send("x");
  EXPECT_EQ(client.error_chunk(), kIo);
  client.request(Command::kFlush, 0, 0);
  EXPECT_EQ(client.error_chunk(), kIo);
}

TEST_P(NbdServer, FullDiskIsNoSpace) {
  disk_.error = EDQUOT;
  NbdClient client = connect_and_go(false);
  client.request(Command::kWrite, 0, 1);
  client.send("x");
  EXPECT_EQ(client.simple_reply(), kNoSpace);
}

TEST_P(NbdServer, WrongMagicEndsTheConnection) {
  NbdClient client = connect_and_go(false);
  client.send(std::string(sizeof(RequestHeader), 'x'));
  EXPECT_EQ(client.wait_for_end(), 0U);
}

TEST_P(NbdServer, DisconnectFinishesWhatWasAskedFor) {
  NbdClient client = connect_and_go(false);
  for (uint64_t i = 0; i < 20; ++i) client.request(Command::kRead, i * 512, 512, 0, i);
  client.request(Command::kDisconnect, 0, 0);
  EXPECT_EQ(client.wait_for_end(), 20 * (sizeof(SimpleReplyHeader) + 512));
}

TEST_P(NbdServer, HalfClosedClientGetsItsReplies) {
  NbdClient client = connect_and_go(false);
  client.request(Command::kRead, 0, 512);
  client.send("half a header");
  client.shut_down_writing();
  EXPECT_EQ(client.wait_for_end(), sizeof(SimpleReplyHeader) + 512);
}

TEST_P(NbdServer, ManyRequestsWithoutReadingAreAllAnswered) {
  NbdClient client = connect_and_go(true);
  constexpr uint64_t kCount = 2000;
  client.send(requests(kCount, Command::kFlush, 0));
  for (uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(client.simple_reply(i), 0U);
}

TEST_P(NbdServer, ClientThatNeverReadsCannotMakeTheServerGrow) {
  {
    NbdClient client = connect_and_go(false);
    client.send(requests(4000, Command::kRead, 60'000));
    NbdClient other = connect_and_go(false);
    other.request(Command::kFlush, 0, 0);
    EXPECT_EQ(other.simple_reply(), 0U);
  }
  stop();
  EXPECT_LT(disk_.reads, 1000U);
}

// A TiB of zeros, each read of which takes a turn of the loop.
class WideDisk : public testing::MemoryDisk {
 public:
  explicit WideDisk(IoEngine& engine) : MemoryDisk(4096), engine_(engine) {}
  uint64_t size_bytes() const override { return uint64_t{1} << 40; }
  Task<Result<void>> read(uint64_t, std::span<const iovec> buffers) override {
    ++reads;
    (void)co_await engine_.data_sync(-1);
    zero_iovecs(buffers, 0, total_bytes(buffers));
    co_return {};
  }

 private:
  IoEngine& engine_;
};

// So much that nobody else would get anything, and never takes it.
TEST_P(NbdServer, GreedyClientDoesNotStopOthers) {
  WideDisk wide(io_->engine());
  offer_.disk = &wide;
  options_.max_payload_bytes = kMaxDataBytes;
  options_.patience = std::chrono::milliseconds(300);
  NbdClient idle = connect_and_go(false);
  NbdClient greedy = connect_and_go(false);
  greedy.send(requests(32, Command::kRead, 1 << 20));
  EXPECT_EQ(greedy.receive(1).size(), 1U);
  NbdClient other = connect_and_go(false);
  other.request(Command::kRead, 0, 1 << 20);
  EXPECT_EQ(other.simple_reply(), 0U);
  EXPECT_EQ(other.receive(1 << 20).size(), size_t{1} << 20);
  greedy.wait_for_end();
  idle.request(Command::kFlush, 0, 0);
  EXPECT_EQ(idle.simple_reply(), 0U) << "who holds nothing stays";
  stop();
}

TEST_P(NbdServer, ClientThatFallsSilentInAWriteDoesNotStopOthers) {
  WideDisk wide(io_->engine());
  offer_.disk = &wide;
  options_.max_payload_bytes = kMaxDataBytes;
  options_.patience = std::chrono::milliseconds(300);
  NbdClient silent = connect_and_go(false);
  silent.request(Command::kWrite, 0, kMaxDataBytes);
  silent.send(std::string(100'000, 'x'));
  NbdClient other = connect_and_go(false);
  other.request(Command::kRead, 0, 1 << 20);
  EXPECT_EQ(other.simple_reply(), 0U);
  EXPECT_EQ(other.receive(1 << 20).size(), size_t{1} << 20);
  silent.wait_for_end();
  stop();
}

TEST_P(NbdServer, CacheTakesNoMoreThanReadsDo) {
  WideDisk wide(io_->engine());
  offer_.disk = &wide;
  NbdClient client = connect_and_go(false);
  client.request(Command::kCache, 0, 0xffffffff);
  EXPECT_EQ(client.simple_reply(), static_cast<uint32_t>(WireError::kInvalid));
  client.request(Command::kCache, 0, kMaxDataBytes);
  EXPECT_EQ(client.simple_reply(), 0U);
  stop();
  EXPECT_EQ(wide.reads, kMaxDataBytes / kWarmStepBytes);
}

TEST_P(NbdServer, CacheEndsWithTheClient) {
  WideDisk wide(io_->engine());
  offer_.disk = &wide;
  {
    NbdClient client = connect_and_go(false);
    client.send(requests(128, Command::kCache, kMaxDataBytes));
  }
  stop();
  EXPECT_LT(wide.reads, 128 * (kMaxDataBytes / kWarmStepBytes) / 2);
}

TEST_P(NbdServer, ClientThatLeavesDuringAWriteDoesNoHarm) {
  {
    NbdClient client = connect_and_go(false);
    client.request(Command::kWrite, 0, 65'536);
    client.send(std::string(30'000, 'x'));
  }
  NbdClient client = connect_and_go(false);
  client.request(Command::kFlush, 0, 0);
  EXPECT_EQ(client.simple_reply(), 0U);
  stop();
  EXPECT_EQ(disk_.writes, 0U);
}

TEST_P(NbdServer, StopAnswersWhatIsInFlight) {
  disk_.is_held = true;
  NbdClient client = connect_and_go(false);
  client.send(requests(2, Command::kRead, 512));
  NbdClient in_handshake = connect();
  EXPECT_TRUE(in_handshake.greet());
  wait_for_reads(2);
  begin_stop();
  io_->post([&] { disk_.release(); });
  EXPECT_EQ(client.wait_for_end(), 2 * (sizeof(SimpleReplyHeader) + 512));
  EXPECT_EQ(in_handshake.wait_for_end(), 0U);
}

TEST_P(NbdServer, StopDoesNotWaitForClientsThatNeverRead) {
  options_.patience = std::chrono::milliseconds(300);
  NbdClient client = connect_and_go(false);
  client.send(requests(100, Command::kRead, 60'000));
  wait_for_reads(100);
  stop();
}

TEST_P(NbdServer, LastClientThatLeavesIsNoticed) {
  std::promise<void> left;
  options_.last_client_left = [&left] { left.set_value(); };
  {
    NbdClient refused = connect();
  }
  NbdClient first = connect_and_go(false);
  {
    NbdClient second = connect_and_go(false);
  }
  first.request(Command::kFlush, 0, 0);
  EXPECT_EQ(first.simple_reply(), 0U);
  first.close();
  left.get_future().wait();
}

TEST_P(NbdServer, BlockStatusDescribesExtents) {
  NbdClient client = connect_for_status(false);
  client.request(Command::kBlockStatus, 2048, 12'288);
  const auto chunk = client.chunk();
  ASSERT_TRUE(chunk && chunk->last);
  EXPECT_EQ(chunk->type, Chunk::kBlockStatus);
  const uint32_t hole = kStateHole | kStateZero;
  EXPECT_EQ(descriptors(chunk->payload),
            (std::vector<std::pair<uint32_t, uint32_t>>{{2048, 0}, {8192, hole}, {2048, 0}}));
}

TEST_P(NbdServer, RequestForOneExtentGetsOneOfEachContext) {
  NbdClient client = connect_for_status(true);
  client.request(Command::kBlockStatus, 4096, 61'440, kCommandReqOne);
  const auto allocation = client.chunk();
  ASSERT_TRUE(allocation && !allocation->last);
  EXPECT_EQ(descriptors(allocation->payload),
            (std::vector<std::pair<uint32_t, uint32_t>>{{8192, kStateHole | kStateZero}}));
  const auto depth = client.chunk();
  ASSERT_TRUE(depth && depth->last);
  EXPECT_EQ(descriptors(depth->payload), (std::vector<std::pair<uint32_t, uint32_t>>{{4096, 2}}));
}

TEST_P(NbdServer, BlockStatusOutsideOrWithoutContextIsInvalid) {
  NbdClient client = connect_for_status(false);
  client.request(Command::kBlockStatus, 65'536, 1);
  EXPECT_EQ(client.error_chunk(), kInvalid);
  client.request(Command::kBlockStatus, 0, 0);
  EXPECT_EQ(client.error_chunk(), kInvalid);
  NbdClient plain = connect_and_go(false);
  plain.request(Command::kBlockStatus, 0, 4096);
  EXPECT_EQ(plain.simple_reply(), kInvalid);
}

// With all places taken by clients who do nothing.
class NbdServerQueue : public NbdServer {
 protected:
  void fill(unsigned places, std::chrono::milliseconds patience = std::chrono::milliseconds(50)) {
    options_.max_connections = places;
    options_.queue_patience = patience;
    start();
    auto listener = UnixListener::create(directory_ / "socket").value();
    std::promise<void> listening;
    io_->post([&] {
      EXPECT_TRUE(server_->listen(listener.take_socket()));
      listening.set_value();
    });
    listening.get_future().wait();
    name_.emplace(std::move(listener));
    for (unsigned i = 0; i < places; ++i) idle_.push_back(come());
    for (NbdClient& client : idle_) EXPECT_TRUE(client.go(false));
  }
  NbdClient come() {
    const auto address = SocketAddress::unix_path(directory_ / "socket").value();
    UniqueFd socket = address.make_socket(0).value();
    EXPECT_EQ(::connect(socket.get(), address.get(), address.size()), 0);
    return NbdClient(std::move(socket));
  }
  // The answer to NBD_OPT_GO.
  std::optional<OptionReply> ask_for_export(NbdClient& client) {
    if (!client.greet()) return std::nullopt;
    const auto answer = client.ask(Option::kGo, std::string(6, '\0'));
    return answer ? std::optional(answer->type) : std::nullopt;
  }

  testing::TemporaryDirectory directory_;
  std::optional<UnixListener> name_;
  std::vector<NbdClient> idle_;
};

TEST_P(NbdServerQueue, WhoWaitsForAPlaceInVainIsTold) {
  fill(3);
  for (int again = 0; again < 2; ++again) {
    NbdClient late = come();
    EXPECT_EQ(ask_for_export(late), OptionReply::kErrPolicy);
  }
  idle_[1].request(Command::kFlush, 0, 0);
  EXPECT_EQ(idle_[1].simple_reply(), 0U) << "who has a place keeps it";
}

// More than are refused at once, none of whom says a word.
TEST_P(NbdServerQueue, SilentCrowdIsSeenOff) {
  options_.patience = std::chrono::milliseconds(100);
  fill(1);
  std::vector<NbdClient> crowd;
  for (int i = 0; i < 100; ++i) crowd.push_back(come());
  for (NbdClient& client : crowd) (void)client.wait_for_end();
  NbdClient late = come();
  EXPECT_EQ(ask_for_export(late), OptionReply::kErrPolicy);
  idle_.clear();
  std::optional<OptionReply> answer;
  while (answer != OptionReply::kAck) {
    NbdClient next = come();
    answer = ask_for_export(next);
  }
}

TEST_P(NbdServerQueue, WhoWaitsGetsThePlaceOfWhoGoes) {
  fill(2, std::chrono::hours(1));
  NbdClient late = come();
  idle_.pop_back();
  EXPECT_EQ(ask_for_export(late), OptionReply::kAck);
}

INSTANTIATE_TEST_SUITE_P(Engines, NbdServerQueue,
                         ::testing::Values(IoEngineKind::kUring, IoEngineKind::kThreads),
                         [](const auto& engine) {
                           return engine.param == IoEngineKind::kUring ? "Uring" : "Threads";
                         });

INSTANTIATE_TEST_SUITE_P(Engines, NbdServer,
                         ::testing::Values(IoEngineKind::kUring, IoEngineKind::kThreads),
                         [](const auto& engine) {
                           return engine.param == IoEngineKind::kUring ? "Uring" : "Threads";
                         });

}  // namespace
}  // namespace hull::blockcore::nbd
