// Connections that are lost: a server that goes away and comes back, without what it had not
// flushed; one that does not come back; one that is another.
#include "blockcore/nbd/session.h"

#include <gtest/gtest.h>

#include <random>

#include "blockcore/async/run_all.h"
#include "blockcore/nbd/nbd_disk.h"
#include "tests/support/nbd_fake_server.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore::nbd {
namespace {

using std::chrono::milliseconds;
using testing::NbdClient;
using testing::NbdFakeServer;

constexpr uint64_t kBytes = 64 << 10;  // of the fake server's export
constexpr uint16_t kFlags = kHasFlags | kSendFlush | kSendTrim | kSendWriteZeroes;

Task<void> next_turn(IoEngine& engine) {
  WaitList next;
  engine.post([&next] { next.wake_all(); });
  co_await next.wait();
}

NbdDiskOptions patient() { return {.silence = std::chrono::seconds(30)}; }

// Bytes behind a volatile cache, which is lost when the server ends without a flush.
class VolatileServer {
 public:
  // Answers so many requests, then hangs up; what it receives at that moment it may do or not.
  void serve(NbdClient& peer, unsigned requests, unsigned seed) {
    std::mt19937 random(seed);
    NbdFakeServer::shake_hands(peer, kFlags);
    cached_ = stored_;
    for (unsigned i = 0;; ++i) {
      const auto header = peer.receive_message<RequestHeader>();
      if (!header || static_cast<Command>(header->command.get()) == Command::kDisconnect) return;
      const std::string reply = perform(peer, *header);
      if (i >= requests) {
        if (random() % 2 == 0) peer.send(reply.substr(0, random() % (reply.size() + 1)));
        if (random() % 2 == 0) stored_ = cached_;  // as it happened to be written back
        return;
      }
      peer.send(reply);
    }
  }
  const std::string& stored() const { return stored_; }

 private:
  std::string perform(NbdClient& peer, const RequestHeader& header) {
    const uint64_t offset = header.offset;
    const uint32_t length = header.length;
    std::string reply;
    switch (static_cast<Command>(header.command.get())) {
      case Command::kRead:
        append_bytes(reply, ChunkHeader{kStructuredReplyMagic, kChunkDone,
                                        static_cast<uint16_t>(Chunk::kOffsetData), header.cookie,
                                        length + uint32_t{8}});
        append_bytes(reply, Be64(offset));
        return reply + cached_.substr(offset, length);
      case Command::kWrite: cached_.replace(offset, length, peer.receive(length)); break;
      case Command::kWriteZeroes: cached_.replace(offset, length, std::string(length, '\0')); break;
      case Command::kFlush: stored_ = cached_; break;
      default: break;
    }
    append_bytes(reply, SimpleReplyHeader{kSimpleReplyMagic, 0U, header.cookie});
    return reply;
  }

  std::string stored_ = std::string(kBytes, '\0');
  std::string cached_;
};

class NbdSession : public ::testing::TestWithParam<IoEngineKind> {
 protected:
  void SetUp() override {
    auto engine = IoEngine::create(GetParam());
    if (!engine) GTEST_SKIP() << engine.error().message();
    engine_ = *std::move(engine);
  }
  std::unique_ptr<NbdDisk> open(const std::string& url, NbdDiskOptions options = patient()) {
    auto disk = NbdDisk::open(*engine_, url, options);
    EXPECT_TRUE(disk) << disk.error().message();
    return disk ? *std::move(disk) : nullptr;
  }
  Result<void> read_one(Disk& disk) {
    std::string data(512, '?');
    const iovec buffer{data.data(), data.size()};
    return engine_->run_until_done(disk.read(0, {&buffer, 1}));
  }
  std::unique_ptr<IoEngine> engine_;
};

// Eight lanes, each of which alone changes and reads its part of the disk.
class Lane {
 public:
  Lane(Disk& disk, unsigned index, unsigned seed)
      : disk_(disk), start_(index * kLaneBytes), random_(seed * 100 + index) {}
  static constexpr uint64_t kLaneBytes = kBytes / 8;

  Task<void> run(unsigned steps) {
    for (unsigned i = 0; i < steps; ++i) {
      const uint64_t at = random_() % kLaneBytes;
      const uint64_t length = 1 + random_() % std::min<uint64_t>(kLaneBytes - at, 1500);
      auto one = step(at, length);
      const bool done = co_await std::move(one);
      EXPECT_TRUE(done) << start_ << " step " << i;
      if (!done) break;
    }
    ended = true;
  }
  const std::string& model() const { return model_; }
  bool ended = false;

 private:
  Task<bool> step(uint64_t at, uint64_t length) {
    const unsigned kind = random_() % 8;
    std::string data(length, static_cast<char>('a' + random_() % 26));
    const iovec buffer{data.data(), data.size()};
    if (kind == 0) {
      const auto flushed = co_await disk_.flush();
      co_return flushed.has_value();
    }
    if (kind == 1) {
      const auto zeroed = co_await disk_.write_zeroes(start_ + at, length, true);
      model_.replace(at, length, std::string(length, '\0'));
      co_return zeroed.has_value();
    }
    if (kind < 5) {
      const auto written = co_await disk_.write(start_ + at, {&buffer, 1});
      model_.replace(at, length, data);
      co_return written.has_value();
    }
    const auto got = co_await disk_.read(start_ + at, {&buffer, 1});
    co_return got&& data == model_.substr(at, length);
  }

  Disk& disk_;
  const uint64_t start_;
  std::mt19937 random_;
  std::string model_ = std::string(kLaneBytes, '\0');
};

TEST_P(NbdSession, ServerThatCrashesAndComesBackLosesNothing) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    VolatileServer bytes;
    std::string model;
    {
      std::mt19937 random(seed);
      std::vector<NbdFakeServer::Script> scripts;
      for (unsigned life = 0; life < 5; ++life)
        scripts.emplace_back([&bytes, requests = static_cast<unsigned>(random() % 60),
                              seed](NbdClient& peer) { bytes.serve(peer, requests, seed); });
      scripts.emplace_back([&bytes](NbdClient& peer) { bytes.serve(peer, ~0U, 0); });
      NbdFakeServer server(std::move(scripts));
      const auto disk = open(server.url());
      ASSERT_NE(disk, nullptr);
      std::deque<Lane> lanes;
      for (unsigned i = 0; i < 8; ++i) lanes.emplace_back(*disk, i, seed);
      const auto all = [&]() -> Task<bool> {
        for (Lane& lane : lanes) start_detached(lane.run(80));
        for (const Lane& lane : lanes)
          while (!lane.ended) co_await next_turn(*engine_);
        const auto closed = co_await disk->close();
        co_return closed.has_value();
      };
      EXPECT_TRUE(engine_->run_until_done(all()));
      for (const Lane& lane : lanes) model += lane.model();
    }
    EXPECT_TRUE(bytes.stored() == model);
  }
}

TEST_P(NbdSession, ServerThatDoesNotComeBackIsGivenUp) {
  NbdDiskOptions options = patient();
  options.reconnect = milliseconds(150);
  std::unique_ptr<NbdDisk> disk;
  {
    NbdFakeServer server([](NbdClient& peer) { NbdFakeServer::shake_hands(peer); });
    disk = open(server.url(), options);
  }
  for (int again = 0; again < 2; ++again) {
    const auto got = read_one(*disk);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().error_number(), EIO);
    EXPECT_NE(got.error().message().find("the connection was lost, and there was no other"),
              std::string::npos)
        << got.error().message();
  }
  EXPECT_FALSE(engine_->run_until_done(disk->close()));
}

// However long it would go on looking.
TEST_P(NbdSession, AbandonEndsTheSearchAtOnce) {
  NbdDiskOptions options = patient();
  options.reconnect = std::chrono::hours(24);
  std::unique_ptr<NbdDisk> disk;
  {
    NbdFakeServer server([](NbdClient& peer) { NbdFakeServer::shake_hands(peer); });
    disk = open(server.url(), options);
  }
  const auto give_up = [&]() -> Task<void> {
    std::string data(512, '?');
    const iovec buffer{data.data(), data.size()};
    bool failed = false;
    const auto read = [&]() -> Task<void> {
      const auto got = co_await disk->read(0, {&buffer, 1});
      failed = !got;
    };
    start_detached(read());
    // Until the loss was noticed.
    for (int turn = 0; turn < 100; ++turn) co_await next_turn(*engine_);
    EXPECT_FALSE(failed);
    disk->abandon();
    while (!failed) co_await next_turn(*engine_);
  };
  engine_->run_until_done(give_up());
  EXPECT_FALSE(read_one(*disk));
}

TEST_P(NbdSession, AnotherExportIsNotTakenForTheOldOne) {
  const auto greet = [](uint64_t bytes, uint16_t flags) {
    return [=](NbdClient& peer) { NbdFakeServer::shake_hands(peer, flags, bytes); };
  };
  for (const auto& [bytes, flags] : {std::pair<uint64_t, uint16_t>{kBytes + 512, kFlags},
                                     {kBytes - 512, kFlags},
                                     {kBytes, kHasFlags},
                                     {kBytes, kFlags | kReadOnly}}) {
    NbdFakeServer server({greet(kBytes, kFlags), greet(bytes, flags)});
    const auto disk = open(server.url());
    const auto got = read_one(*disk);
    ASSERT_FALSE(got);
    EXPECT_NE(got.error().message().find("another export"), std::string::npos);
  }
}

// One that takes connections and requests and hangs up each time.
TEST_P(NbdSession, ServerThatOnlyHangsUpIsGivenUp) {
  const auto hang_up = [](NbdClient& peer) {
    NbdFakeServer::shake_hands(peer);
    (void)peer.receive(sizeof(RequestHeader));
  };
  NbdDiskOptions options{.silence = milliseconds(50)};
  options.reconnect = milliseconds(100);
  NbdFakeServer server(std::vector<NbdFakeServer::Script>(4, hang_up));
  const auto disk = open(server.url(), options);
  EXPECT_FALSE(read_one(*disk));
}

// It answers others all the time.
TEST_P(NbdSession, RequestThatIsNeverAnsweredFails) {
  NbdFakeServer server([](NbdClient& peer) {
    NbdFakeServer::shake_hands(peer, kFlags);
    while (const auto header = peer.receive_message<RequestHeader>())
      if (static_cast<Command>(header->command.get()) == Command::kFlush)
        peer.send_message(SimpleReplyHeader{kSimpleReplyMagic, 0U, header->cookie});
  });
  NbdDiskOptions options{.silence = milliseconds(50)};
  options.reconnect = milliseconds(0);
  const auto disk = open(server.url(), options);
  bool failed = false;
  std::string data(512, '?');
  const iovec buffer{data.data(), data.size()};
  const auto read = [&]() -> Task<Result<void>> {
    const auto got = co_await disk->read(0, {&buffer, 1});
    failed = true;
    EXPECT_FALSE(got);
    if (!got) {
      EXPECT_NE(got.error().message().find("has not answered"), std::string::npos)
          << got.error().message();
    }
    co_return {};
  };
  // Until it fails: from then on it does so at once, and nobody else would have a turn.
  const auto flush = [&]() -> Task<Result<void>> {
    bool flushed = true;
    while (!failed && flushed) flushed = (co_await disk->flush()).has_value();
    co_return {};
  };
  std::vector<Task<Result<void>>> both;
  both.push_back(read());
  both.push_back(flush());
  EXPECT_TRUE(engine_->run_until_done(run_all(std::move(both))));
}

TEST_P(NbdSession, MuchThatIsNotFlushedIsFlushed) {
  unsigned flushes = 0;
  {
    NbdFakeServer server([&](NbdClient& peer) {
      NbdFakeServer::shake_hands(peer, kFlags, uint64_t{1} << 30);
      while (const auto header = peer.receive_message<RequestHeader>()) {
        const auto command = static_cast<Command>(header->command.get());
        if (command == Command::kDisconnect) return;
        if (command == Command::kWrite) (void)peer.receive(header->length);
        if (command == Command::kFlush) ++flushes;
        peer.send_message(SimpleReplyHeader{kSimpleReplyMagic, 0U, header->cookie});
      }
    });
    const auto disk = open(server.url());
    const std::string data(4 << 20, 'x');
    const iovec buffer{const_cast<char*>(data.data()), data.size()};
    for (uint64_t i = 0; i < 3 * Session::kMaxKeptBytes / data.size(); ++i)
      ASSERT_TRUE(engine_->run_until_done(disk->write(i * data.size(), {&buffer, 1})));
  }
  EXPECT_GE(flushes, 2U);
  EXPECT_LE(flushes, 3U);
}

INSTANTIATE_TEST_SUITE_P(Engines, NbdSession,
                         ::testing::Values(IoEngineKind::kUring, IoEngineKind::kThreads),
                         [](const auto& engine) {
                           return engine.param == IoEngineKind::kUring ? "Uring" : "Threads";
                         });

}  // namespace
}  // namespace hull::blockcore::nbd
