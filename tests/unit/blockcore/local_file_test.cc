#include "blockcore/file/local_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <random>
#include <thread>

#include "tests/support/faulty_engine.h"
#include "tests/support/memory_file.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

struct Variant {
  IoEngineKind engine;
  CacheMode cache;
};

iovec whole(std::vector<uint8_t>& data) { return {data.data(), data.size()}; }

std::vector<uint8_t> pattern(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> data(size);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  return data;
}

std::vector<uint8_t> contents(const std::string& path) {
  const UniqueFd fd = open_file(path, O_RDONLY).value();
  const std::string text = read_whole(fd.get(), 64 << 20).value();
  return {text.begin(), text.end()};
}

void create_file(const std::string& path, const std::vector<uint8_t>& data) {
  const UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC).value();
  ASSERT_TRUE(write_all(fd.get(), std::as_bytes(std::span(data))));
}

class LocalFileTest : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    auto created = IoEngine::create(GetParam().engine);
    if (!created) GTEST_SKIP() << created.error().message();
    engine_ = *std::move(created);
  }

  // Skips the test where the file system of the temporary directory does not do O_DIRECT.
  void open(const std::vector<uint8_t>& data) {
    create_file(path_, data);
    auto opened = LocalFile::open(*engine_, path_, {.cache = GetParam().cache});
    if (!opened && opened.error().kind() == ErrorKind::kInvalidConfig)
      GTEST_SKIP() << opened.error().message();
    ASSERT_TRUE(opened) << opened.error().message();
    file_ = *std::move(opened);
  }

  Result<void> write(uint64_t offset, std::vector<uint8_t> data) {
    const iovec buffer = whole(data);
    return engine_->run_until_done(file_->write(offset, {&buffer, 1}));
  }
  Result<std::vector<uint8_t>> read(uint64_t offset, size_t length, bool zeros_past_end) {
    std::vector<uint8_t> data(length, 0xaa);
    const iovec buffer = whole(data);
    auto task = zeros_past_end ? file_->read_or_zero(offset, {&buffer, 1})
                               : file_->read(offset, {&buffer, 1});
    if (auto done = engine_->run_until_done(std::move(task)); !done)
      return std::unexpected(std::move(done).error());
    return data;
  }

  testing::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "image";
  std::unique_ptr<IoEngine> engine_;
  std::unique_ptr<LocalFile> file_;
};

TEST_P(LocalFileTest, MisalignedRangeReadsBackAndLeavesItsNeighbours) {
  std::vector<uint8_t> model = pattern(100000, 1);
  open(model);
  if (IsSkipped()) return;
  const std::vector<uint8_t> data = pattern(33333, 2);
  ASSERT_TRUE(write(777, data));
  std::copy(data.begin(), data.end(), model.begin() + 777);
  EXPECT_EQ(read(0, model.size(), false).value(), model);
  EXPECT_EQ(contents(path_), model);
}

TEST_P(LocalFileTest, ReadPastTheEndFailsOrGivesZeros) {
  const std::vector<uint8_t> data = pattern(1000, 3);
  open(data);
  if (IsSkipped()) return;
  EXPECT_EQ(read(900, 200, false).error().kind(), ErrorKind::kOutOfRange);
  std::vector<uint8_t> expected(data.begin() + 900, data.end());
  expected.resize(5000);
  EXPECT_EQ(read(900, 5000, true).value(), expected);
  EXPECT_EQ(read(1 << 20, 4096, true).value(), std::vector<uint8_t>(4096));
}

TEST_P(LocalFileTest, WritePastTheEndExtendsTheFileByWhatWasWritten) {
  open({});
  if (IsSkipped()) return;
  ASSERT_TRUE(write(4096 + 100, pattern(1001, 4)));
  EXPECT_EQ(file_->size_bytes(), 4096U + 1101U);
  std::vector<uint8_t> expected(4096 + 100);
  const std::vector<uint8_t> tail = pattern(1001, 4);
  expected.insert(expected.end(), tail.begin(), tail.end());
  EXPECT_EQ(contents(path_), expected);
}

TEST_P(LocalFileTest, MoreThanIovMaxBuffersAreOneTransfer) {
  std::vector<uint8_t> data = pattern(IOV_MAX * 3 * 512, 5);
  open(std::vector<uint8_t>(data.size()));
  if (IsSkipped()) return;
  std::vector<iovec> pieces;
  for (size_t at = 0; at < data.size(); at += 512) pieces.push_back({data.data() + at, 512});
  ASSERT_TRUE(engine_->run_until_done(file_->write(0, pieces)));
  EXPECT_EQ(contents(path_), data);
}

TEST_P(LocalFileTest, WriteZeroesClearsExactlyItsRange) {
  for (const bool may_unmap : {false, true}) {
    std::vector<uint8_t> model = pattern(300000, 6);
    open(model);
    if (IsSkipped()) return;
    ASSERT_TRUE(engine_->run_until_done(file_->write_zeroes(1234, 200000, may_unmap)));
    std::fill_n(model.begin() + 1234, 200000, uint8_t{0});
    EXPECT_EQ(contents(path_), model);
  }
}

TEST_P(LocalFileTest, WriteZeroesPastTheEndExtendsTheFile) {
  std::vector<uint8_t> model = pattern(10000, 7);
  open(model);
  if (IsSkipped()) return;
  ASSERT_TRUE(engine_->run_until_done(file_->write_zeroes(9000, 100000, true)));
  model.resize(9000);
  model.resize(109000);
  EXPECT_EQ(file_->size_bytes(), 109000U);
  EXPECT_EQ(contents(path_), model);
}

TEST_P(LocalFileTest, DiscardGivesBlocksBackAndKeepsTheSize) {
  open(pattern(1 << 20, 8));
  if (IsSkipped()) return;
  ASSERT_TRUE(engine_->run_until_done(file_->flush()));
  ASSERT_TRUE(engine_->run_until_done(file_->discard(0, 10 << 20)));
  struct stat facts;
  ASSERT_EQ(::stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_size, 1 << 20);
  EXPECT_LT(facts.st_blocks, 64);
}

TEST_P(LocalFileTest, AllocateReservesAndExtends) {
  open({});
  if (IsSkipped()) return;
  const auto allocated = engine_->run_until_done(file_->allocate(0, 1 << 20));
  if (!allocated && allocated.error().kind() == ErrorKind::kUnsupported) GTEST_SKIP();
  EXPECT_EQ(file_->size_bytes(), 1U << 20);
  struct stat facts;
  ASSERT_EQ(::stat(path_.c_str(), &facts), 0);
  EXPECT_GE(facts.st_blocks * 512, 1 << 20);
}

// Neighbours inside one block that are in flight together: none may lose the other's bytes.
TEST_P(LocalFileTest, MisalignedNeighboursInFlightTogetherAllArrive) {
  constexpr size_t kPiece = 100;
  std::vector<uint8_t> data = pattern(kPiece * 200, 9);
  open(std::vector<uint8_t>(data.size()));
  if (IsSkipped()) return;
  unsigned finished = 0;
  auto one = [&](size_t at) -> Task<void> {
    const iovec buffer{data.data() + at, kPiece};
    const auto written = co_await file_->write(at, {&buffer, 1});
    EXPECT_TRUE(written);
    ++finished;
  };
  auto all = [&]() -> Task<void> {
    for (size_t at = 0; at < data.size(); at += kPiece) start_detached(one(at));
    while (finished < 200) co_await engine_->data_sync(file_->fd());
  };
  engine_->run_until_done(all());
  EXPECT_EQ(contents(path_), data);
}

// The same with zeros beside them: neither may bring back what the other has replaced.
TEST_P(LocalFileTest, ZeroesBesideMisalignedWritesAllArrive) {
  constexpr size_t kPiece = 100;
  constexpr size_t kPieces = 200;
  for (const bool may_unmap : {false, true}) {
    std::vector<uint8_t> model = pattern(kPiece * kPieces, 17);
    open(std::vector<uint8_t>(model.size(), 0xff));
    if (IsSkipped()) return;
    size_t finished = 0;
    auto one = [&](size_t piece) -> Task<void> {
      const size_t at = piece * kPiece;
      const iovec buffer{model.data() + at, kPiece};
      // Not one co_await in each arm of a conditional: g++ 12 destroys the chosen result twice.
      auto change = piece % 2 == 0 ? file_->write(at, {&buffer, 1})
                                   : file_->write_zeroes(at, kPiece, may_unmap);
      const auto changed = co_await std::move(change);
      EXPECT_TRUE(changed);
      ++finished;
    };
    auto all = [&]() -> Task<void> {
      for (size_t piece = 0; piece < kPieces; ++piece) start_detached(one(piece));
      while (finished < kPieces) co_await engine_->data_sync(file_->fd());
    };
    engine_->run_until_done(all());
    for (size_t piece = 1; piece < kPieces; piece += 2)
      std::fill_n(model.begin() + static_cast<ptrdiff_t>(piece * kPiece), kPiece, uint8_t{0});
    EXPECT_EQ(contents(path_), model);
  }
}

// Another program has made the file longer since it was looked at.
TEST_P(LocalFileTest, ExtendingKeepsWhatSomebodyElseHasAdded) {
  open(pattern(4096, 18));
  if (IsSkipped()) return;
  const std::vector<uint8_t> longer = pattern(300000, 19);
  create_file(path_, longer);
  ASSERT_TRUE(file_->extend_to(100000));
  EXPECT_EQ(contents(path_), longer);
  EXPECT_EQ(file_->size_bytes(), longer.size());
  ASSERT_TRUE(file_->extend_to(400000));
  EXPECT_EQ(file_->size_bytes(), 400000U);
  ASSERT_TRUE(file_->cut_to(500000));
  EXPECT_EQ(file_->size_bytes(), 400000U);
  ASSERT_TRUE(file_->cut_to(1000));
  EXPECT_EQ(contents(path_), std::vector<uint8_t>(longer.begin(), longer.begin() + 1000));
}

// Whoever waits for a lock sees the file as its holder leaves it.
TEST_P(LocalFileTest, FactsAreNotOlderThanTheLock) {
  const std::vector<uint8_t> left = pattern(200000, 20);
  for (const bool write : {false, true}) {
    create_file(path_, pattern(4096, 21));
    UniqueFd holder = open_file(path_, O_RDWR).value();
    ASSERT_TRUE(lock_image(holder.get(), path_, {.write = true, .resize = true}));
    std::thread other([&] {
      std::this_thread::sleep_for(kLockPatience / 20);
      EXPECT_TRUE(write_all(holder.get(), std::as_bytes(std::span(left))));
      holder.reset();
    });
    const LockRequest lock{.write = write, .resize = write};
    const auto opened = LocalFile::open(
        *engine_, path_, {.cache = GetParam().cache, .read_only = !write, .lock = lock});
    other.join();
    if (!opened && opened.error().kind() == ErrorKind::kInvalidConfig)
      GTEST_SKIP() << opened.error().message();
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ((*opened)->size_bytes(), left.size());
    if (!write) continue;
    ASSERT_TRUE((*opened)->extend_to(100000));
    EXPECT_EQ(contents(path_), left);
  }
}

TEST_P(LocalFileTest, LockOfAnotherIsWaitedForAndThenNamed) {
  create_file(path_, pattern(4096, 22));
  const UniqueFd holder = open_file(path_, O_RDWR).value();
  ASSERT_TRUE(lock_image(holder.get(), path_, {.write = true}));
  bool admitted = false;
  LocalFileOptions options{.lock = LockRequest{}};
  options.admit = [&](const FileIdentity&) -> Result<void> {
    admitted = true;
    return {};
  };
  const auto opened = LocalFile::open(*engine_, path_, options);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind(), ErrorKind::kBusy);
  EXPECT_TRUE(admitted) << "who it is shows before the wait";
}

TEST_P(LocalFileTest, RandomOperationsMatchAModel) {
  std::mt19937 random(42);
  std::vector<uint8_t> model = pattern(1 << 20, 10);
  open(model);
  if (IsSkipped()) return;
  for (int i = 0; i < 300; ++i) {
    const uint64_t unit = random() % 2 == 0 ? 4096 : 1;
    const uint64_t offset = random() % (1100000 / unit) * unit;
    const size_t length = (1 + random() % (70000 / unit)) * unit;
    std::vector<uint8_t> data(length);
    if (random() % 3 == 0) {
      ASSERT_TRUE(engine_->run_until_done(file_->write_zeroes(offset, length, i % 2 == 0)));
    } else {
      data = pattern(length, static_cast<uint32_t>(i));
      ASSERT_TRUE(write(offset, data));
    }
    model.resize(std::max(model.size(), offset + length));
    std::copy(data.begin(), data.end(), model.begin() + static_cast<ptrdiff_t>(offset));
    ASSERT_EQ(file_->size_bytes(), model.size());
    const size_t at = random() % model.size();
    std::vector<uint8_t> expected(
        model.begin() + static_cast<ptrdiff_t>(at),
        model.begin() + static_cast<ptrdiff_t>(std::min(at + 5000, model.size())));
    expected.resize(5000);
    ASSERT_EQ(read(at, 5000, true).value(), expected);
  }
  EXPECT_EQ(contents(path_), model);
}

INSTANTIATE_TEST_SUITE_P(Variants, LocalFileTest,
                         ::testing::Values(Variant{IoEngineKind::kUring, CacheMode::kWriteback},
                                           Variant{IoEngineKind::kUring, CacheMode::kNone},
                                           Variant{IoEngineKind::kThreads, CacheMode::kWriteback},
                                           Variant{IoEngineKind::kThreads, CacheMode::kNone}),
                         [](const auto& test) {
                           return std::string(test.param.engine == IoEngineKind::kUring
                                                  ? "uring"
                                                  : "threads") +
                                  (test.param.cache == CacheMode::kNone ? "_direct" : "_cached");
                         });

class LocalFileFaults : public ::testing::Test {
 protected:
  void open(CacheMode cache, const std::vector<uint8_t>& data) {
    create_file(path_, data);
    auto opened = LocalFile::open(*engine_, path_, {.cache = cache});
    if (!opened && opened.error().kind() == ErrorKind::kInvalidConfig)
      GTEST_SKIP() << opened.error().message();
    ASSERT_TRUE(opened) << opened.error().message();
    file_ = *std::move(opened);
  }
  testing::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "image";
  std::unique_ptr<testing::FaultyEngine> engine_ = testing::FaultyEngine::create();
  std::unique_ptr<LocalFile> file_;
};

TEST_F(LocalFileFaults, ShortTransfersAreContinued) {
  std::vector<uint8_t> data = pattern(50000, 11);
  open(CacheMode::kWriteback, {});
  engine_->max_transfer_bytes = 777;
  const iovec pieces[] = {{data.data(), 12345}, {data.data() + 12345, data.size() - 12345}};
  ASSERT_TRUE(engine_->run_until_done(file_->write(5, pieces)));
  std::vector<uint8_t> back(data.size());
  const iovec buffer = whole(back);
  ASSERT_TRUE(engine_->run_until_done(file_->read(5, {&buffer, 1})));
  EXPECT_EQ(back, data);
  EXPECT_EQ(file_->size_bytes(), data.size() + 5);
}

TEST_F(LocalFileFaults, ShortDirectTransfersAreContinuedOnABlock) {
  std::vector<uint8_t> data = pattern(65536, 12);
  open(CacheMode::kNone, std::vector<uint8_t>(data.size()));
  if (IsSkipped()) return;
  engine_->max_transfer_bytes = 8192;
  const iovec buffer = whole(data);
  ASSERT_TRUE(engine_->run_until_done(file_->write(0, {&buffer, 1})));
  EXPECT_EQ(contents(path_), data);
}

TEST_F(LocalFileFaults, FailedFlushFailsForEver) {
  open(CacheMode::kWriteback, {1});
  engine_->sync_error = EIO;
  EXPECT_FALSE(engine_->run_until_done(file_->flush()));
  const auto again = engine_->run_until_done(file_->flush());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().error_number(), EIO);
}

TEST_F(LocalFileFaults, UnsafeModeDoesNotFlush) {
  open(CacheMode::kUnsafe, {1});
  engine_->sync_error = EIO;
  EXPECT_TRUE(engine_->run_until_done(file_->flush()));
  EXPECT_EQ(engine_->sync_error, EIO);
}

TEST_F(LocalFileFaults, ZerosAreWrittenWhereTheHostCannotDoBetter) {
  std::vector<uint8_t> model = pattern(3 << 20, 13);
  open(CacheMode::kWriteback, model);
  engine_->fallocate_error = EOPNOTSUPP;
  ASSERT_TRUE(engine_->run_until_done(file_->write_zeroes(100, 2 << 20, true)));
  ASSERT_TRUE(engine_->run_until_done(file_->discard(0, 4096)));
  std::fill_n(model.begin() + 100, 2 << 20, uint8_t{0});
  EXPECT_EQ(contents(path_), model);
  EXPECT_EQ(engine_->fallocates, 2U);  // each kind is tried once
}

TEST_F(LocalFileFaults, FallocateErrorIsReported) {
  open(CacheMode::kWriteback, pattern(8192, 14));
  engine_->fallocate_error = ENOSPC;
  const auto zeroed = engine_->run_until_done(file_->write_zeroes(0, 4096, false));
  ASSERT_FALSE(zeroed);
  EXPECT_EQ(zeroed.error().kind(), ErrorKind::kNoSpace);
}

class LocalFileCopy : public LocalFileFaults {
 protected:
  void SetUp() override {
    create_file(directory_ / "source", source_bytes_);
    source_ = LocalFile::open(*engine_, directory_ / "source", {.read_only = true}).value();
    create_file(path_, {1, 2, 3});
    file_ = LocalFile::open(*engine_, path_, {}).value();
  }
  Result<uint64_t> copy(uint64_t source_offset, uint64_t offset, uint64_t length) {
    return engine_->run_until_done(file_->copy_from(*source_, source_offset, offset, length));
  }

  const std::vector<uint8_t> source_bytes_ = pattern(100000, 5);
  std::unique_ptr<LocalFile> source_;
};

TEST_F(LocalFileCopy, ShortCopiesAreContinuedAndTheFileGrows) {
  engine_->max_copy_bytes = 7000;
  const auto copied = copy(1000, 2, 50000);
  ASSERT_EQ(copied.value(), 50000U);
  EXPECT_EQ(engine_->copies, 8U);
  EXPECT_EQ(file_->size_bytes(), 50002U);
  std::vector<uint8_t> expected{1, 2};
  expected.insert(expected.end(), source_bytes_.begin() + 1000, source_bytes_.begin() + 51000);
  EXPECT_EQ(contents(path_), expected);
}

TEST_F(LocalFileCopy, EndOfTheSourceEndsTheCopy) {
  EXPECT_EQ(copy(99000, 0, 4096).value(), 1000U);
  EXPECT_EQ(copy(100000, 0, 4096).value(), 0U);
  EXPECT_EQ(file_->size_bytes(), 1000U);
}

TEST_F(LocalFileCopy, RefusalOfTheHostIsUnsupported) {
  engine_->fail_copies_from = 1;
  for (const int error : {EXDEV, EOPNOTSUPP, ENOSYS, EINVAL, ETXTBSY}) {
    engine_->copy_error = error;
    const auto copied = copy(0, 0, 4096);
    ASSERT_FALSE(copied);
    EXPECT_EQ(copied.error().kind(), ErrorKind::kUnsupported);
  }
  EXPECT_EQ(contents(path_), (std::vector<uint8_t>{1, 2, 3}));
}

TEST_F(LocalFileCopy, FailureEndsTheCopyBeforeItsPlace) {
  engine_->max_copy_bytes = 1000;
  engine_->fail_copies_from = 3;
  EXPECT_EQ(copy(0, 0, 4096).value(), 2000U);
  EXPECT_EQ(copy(2000, 2000, 2096).value(), 0U);
  EXPECT_EQ(file_->size_bytes(), 2000U);
  engine_->copies = 0;
  engine_->copy_error = EXDEV;
  EXPECT_EQ(copy(0, 0, 4096).value(), 2000U);
}

TEST_F(LocalFileCopy, ReadOnlyFileRefuses) {
  std::swap(file_, source_);
  EXPECT_EQ(copy(0, 0, 3).error().kind(), ErrorKind::kIo);
}

TEST_F(LocalFileCopy, FilesThatAreNotOfTheHostAreUnsupported) {
  const testing::MemoryFile memory(std::vector<uint8_t>(4096));
  const auto copied = engine_->run_until_done(file_->copy_from(memory, 0, 0, 4096));
  EXPECT_EQ(copied.error().kind(), ErrorKind::kUnsupported);
}

TEST_F(LocalFileFaults, ReadOnlyFileRefusesWrites) {
  create_file(path_, {1});
  file_ = LocalFile::open(*engine_, path_, {.read_only = true}).value();
  std::vector<uint8_t> data{2};
  const iovec buffer = whole(data);
  EXPECT_FALSE(engine_->run_until_done(file_->write(0, {&buffer, 1})));
  EXPECT_FALSE(file_->cut_to(0));
  EXPECT_FALSE(file_->extend_to(1 << 20));
  EXPECT_EQ(contents(path_), std::vector<uint8_t>{1});
}

TEST_F(LocalFileFaults, OnlyRegularFilesAndBlockDevicesAreOpened) {
  const std::string fifo = directory_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path : {fifo, directory_.path(), std::string("/dev/null")}) {
    const auto opened = LocalFile::open(*engine_, path, {.read_only = true});
    ASSERT_FALSE(opened) << path;
    EXPECT_EQ(opened.error().kind(), ErrorKind::kInvalidConfig) << path;
  }
  EXPECT_FALSE(LocalFile::open(*engine_, directory_ / "absent", {}));
}

TEST_F(LocalFileFaults, CreateRefusesAnExistingFile) {
  create_file(path_, {1, 2, 3});
  EXPECT_EQ(LocalFile::open(*engine_, path_, {.create = true}).error().error_number(), EEXIST);
  EXPECT_EQ(contents(path_).size(), 3U);
}

}  // namespace
}  // namespace hull::blockcore
