#include "blockcore/open.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <random>
#include <thread>

#include "blockcore/engine/io_thread.h"
#include "blockcore/file/ephemeral_file.h"
#include "blockcore/file/local_file.h"
#include "blockcore/qcow2/edit/create.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

class OpenDiskTest : public ::testing::Test {
 protected:
  void create_image(const std::string& path, uint64_t size, const std::string& start = {}) {
    const UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC).value();
    ASSERT_TRUE(write_all(fd.get(), std::as_bytes(std::span(start))));
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  }
  Result<std::unique_ptr<Disk>> open(const OpenOptions& options) {
    return engine_->run_until_done(open_disk(*engine_, options));
  }
  Result<void> write(Disk& disk, uint64_t offset, std::vector<uint8_t> data) {
    const iovec buffer{data.data(), data.size()};
    return engine_->run_until_done(disk.write(offset, {&buffer, 1}));
  }
  std::vector<uint8_t> read(Disk& disk, uint64_t offset, size_t size) {
    std::vector<uint8_t> data(size, 0xaa);
    const iovec buffer{data.data(), data.size()};
    EXPECT_TRUE(engine_->run_until_done(disk.read(offset, {&buffer, 1})));
    return data;
  }
  uint64_t allocated_bytes() const {
    struct stat facts;
    EXPECT_EQ(::stat(path_.c_str(), &facts), 0);
    return static_cast<uint64_t>(facts.st_blocks) * 512;
  }

  testing::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "disk.raw";
  std::unique_ptr<IoEngine> engine_ = IoEngine::create().value();
};

TEST_F(OpenDiskTest, RawDiskRoundsItsSizeUpToSectors) {
  create_image(path_, 1000, "hello");
  const auto disk = open({.path = path_}).value();
  EXPECT_EQ(disk->size_bytes(), 1024U);
  EXPECT_EQ(read(*disk, 0, 5), (std::vector<uint8_t>{'h', 'e', 'l', 'l', 'o'}));
  EXPECT_EQ(read(*disk, 512, 512), std::vector<uint8_t>(512));
  ASSERT_TRUE(write(*disk, 1020, {1, 2, 3, 4}));
  EXPECT_EQ(read(*disk, 1020, 4), (std::vector<uint8_t>{1, 2, 3, 4}));
  EXPECT_TRUE(engine_->run_until_done(disk->close()));
}

TEST_F(OpenDiskTest, SecondWriterIsRefusedUntilTheFirstCloses) {
  create_image(path_, 4096);
  auto first = open({.path = path_}).value();
  const auto second = open({.path = path_});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind(), ErrorKind::kBusy);
  first.reset();
  EXPECT_TRUE(open({.path = path_}));
}

TEST_F(OpenDiskTest, ReadOnlyDisksShareAnImageAndRefuseWrites) {
  create_image(path_, 4096);
  const auto first = open({.path = path_, .read_only = true}).value();
  const auto second = open({.path = path_, .read_only = true}).value();
  EXPECT_TRUE(first->read_only());
  EXPECT_FALSE(write(*first, 0, {1}));
}

TEST_F(OpenDiskTest, ShareableDisksShareAnImageForWriting) {
  create_image(path_, 4096);
  const auto first = open({.path = path_, .shareable = true}).value();
  const auto second = open({.path = path_, .shareable = true}).value();
  ASSERT_TRUE(write(*first, 7, {9}));
  EXPECT_EQ(read(*second, 7, 1), std::vector<uint8_t>{9});
}

TEST_F(OpenDiskTest, DiscardKeepsTheSpaceUnlessUnmapIsAskedFor) {
  create_image(path_, 1 << 20);
  for (const bool unmap : {false, true}) {
    const auto disk = open({.path = path_, .unmap = unmap}).value();
    ASSERT_TRUE(write(*disk, 0, std::vector<uint8_t>(1 << 20, 1)));
    ASSERT_TRUE(engine_->run_until_done(disk->flush()));
    EXPECT_EQ(disk->can_discard(), unmap);
    ASSERT_TRUE(engine_->run_until_done(disk->discard(0, 1 << 20)));
    EXPECT_EQ(allocated_bytes() >= 1 << 20, !unmap);
  }
}

TEST_F(OpenDiskTest, DetectedZerosBecomeHoles) {
  create_image(path_, 1 << 20);
  const auto disk =
      open({.path = path_, .unmap = true, .detect_zeroes = DetectZeroes::kUnmap}).value();
  ASSERT_TRUE(write(*disk, 0, std::vector<uint8_t>(1 << 20, 1)));
  std::vector<uint8_t> almost(65536);
  almost.back() = 1;
  ASSERT_TRUE(write(*disk, 0, std::vector<uint8_t>(1 << 20)));
  ASSERT_TRUE(write(*disk, 0, almost));
  ASSERT_TRUE(engine_->run_until_done(disk->flush()));
  EXPECT_EQ(read(*disk, 0, almost.size()), almost);
  EXPECT_LE(allocated_bytes(), 131072U);
}

TEST_F(OpenDiskTest, WritethroughDiskReadsBackWhatWasWritten) {
  create_image(path_, 8192);
  for (const CacheMode cache : {CacheMode::kWritethrough, CacheMode::kDirectsync}) {
    const auto disk = open({.path = path_, .cache = cache});
    if (!disk && cache == CacheMode::kDirectsync) GTEST_SKIP() << disk.error().message();
    ASSERT_TRUE(disk);
    ASSERT_TRUE(write(**disk, 5, {1, 2, 3}));
    EXPECT_EQ(read(**disk, 4, 4), (std::vector<uint8_t>{0, 1, 2, 3}));
  }
}

TEST_F(OpenDiskTest, MissingFileIsNamedInTheError) {
  const auto disk = open({.path = path_});
  ASSERT_FALSE(disk);
  EXPECT_NE(disk.error().message().find(path_), std::string::npos);
}

TEST_F(OpenDiskTest, RawDiskHasNoBackingFile) {
  create_image(path_, 4096);
  const auto disk = open({.path = path_, .backing = std::vector<BackingLevel>{{.path = path_}}});
  ASSERT_FALSE(disk);
  EXPECT_EQ(disk.error().kind(), ErrorKind::kInvalidConfig);
}

class OpenChainTest : public OpenDiskTest {
 protected:
  // A raw file of 1 MiB that begins with `start`.
  std::string base(const std::string& start) {
    const std::string path = directory_ / "base.raw";
    create_image(path, 1 << 20, start);
    return path;
  }
  std::string overlay(const std::string& name, const std::string& backing_name,
                      const std::string& backing_format) {
    const std::string path = directory_ / name;
    const auto file = LocalFile::open(*engine_, path, {.create = true}).value();
    Qcow2CreateOptions options{.size_bytes = 1 << 20};
    options.backing_name = backing_name;
    options.backing_format = backing_format;
    EXPECT_TRUE(engine_->run_until_done(create_qcow2(*file, options)));
    return path;
  }
  ErrorKind error_of(const OpenOptions& options) {
    const auto disk = open(options);
    EXPECT_FALSE(disk);
    return disk ? ErrorKind::kInternal : disk.error().kind();
  }
};

TEST_F(OpenChainTest, HeadersNameTheChainRelativeToEachImage) {
  base("bottom");
  overlay("middle", "base.raw", "raw");
  const std::string top = overlay("top", "middle", "qcow2");
  const auto disk = open({.path = top, .format = DiskFormat::kQcow2}).value();
  ASSERT_TRUE(write(*disk, 1, {'O'}));
  EXPECT_EQ(read(*disk, 0, 4), (std::vector<uint8_t>{'b', 'O', 't', 't'}));
  EXPECT_TRUE(engine_->run_until_done(disk->close()));
}

TEST_F(OpenChainTest, ExplicitChainReplacesWhatTheHeaderNames) {
  const std::string raw = base("bottom");
  const std::string top = overlay("top", "absent", "qcow2");
  const auto disk = open({.path = top,
                          .format = DiskFormat::kQcow2,
                          .backing = std::vector<BackingLevel>{{.path = raw}}})
                        .value();
  EXPECT_EQ(read(*disk, 0, 3), (std::vector<uint8_t>{'b', 'o', 't'}));
}

TEST_F(OpenChainTest, EmptyExplicitChainMeansNoBackingFile) {
  base("bottom");
  const std::string top = overlay("top", "base.raw", "raw");
  const auto disk =
      open({.path = top, .format = DiskFormat::kQcow2, .backing = std::vector<BackingLevel>{}})
          .value();
  EXPECT_EQ(read(*disk, 0, 3), std::vector<uint8_t>(3));
}

TEST_F(OpenChainTest, BackingFileWithoutFormatIsRefused) {
  base("bottom");
  const std::string top = overlay("top", "base.raw", "");
  EXPECT_EQ(error_of({.path = top, .format = DiskFormat::kQcow2}), ErrorKind::kInvalidConfig);
}

TEST_F(OpenChainTest, LoopOfBackingFilesIsRefused) {
  const std::string first = overlay("first", "second", "qcow2");
  overlay("second", "first", "qcow2");
  const auto disk = open({.path = first, .format = DiskFormat::kQcow2, .lock = false});
  ASSERT_FALSE(disk);
  EXPECT_NE(disk.error().message().find("leads back"), std::string::npos);
}

TEST_F(OpenChainTest, TooManyLevelsAreRefused) {
  base("bottom");
  std::string below = "base.raw";
  for (size_t i = 1; i < kMaxChainLength; ++i) {
    const std::string name = "level" + std::to_string(i);
    overlay(name, below, i == 1 ? "raw" : "qcow2");
    below = name;
  }
  EXPECT_TRUE(open({.path = directory_ / below, .format = DiskFormat::kQcow2}));
  const std::string top = overlay("top", below, "qcow2");
  EXPECT_EQ(error_of({.path = top, .format = DiskFormat::kQcow2}), ErrorKind::kInvalidConfig);
}

TEST_F(OpenChainTest, ProtocolNameInAHeaderIsRefused) {
  const std::string top = overlay("top", "json:{\"driver\":\"file\"}", "raw");
  EXPECT_EQ(error_of({.path = top, .format = DiskFormat::kQcow2}), ErrorKind::kUnsupported);
}

TEST_F(OpenChainTest, OverlaysOfOneBaseRunSideBySide) {
  base("bottom");
  const std::string first = overlay("first", "base.raw", "raw");
  const std::string second = overlay("second", "base.raw", "raw");
  const auto one = open({.path = first, .format = DiskFormat::kQcow2});
  const auto two = open({.path = second, .format = DiskFormat::kQcow2});
  EXPECT_TRUE(one);
  EXPECT_TRUE(two);
  EXPECT_EQ(error_of({.path = directory_ / "base.raw"}), ErrorKind::kBusy);
}

TEST_F(OpenChainTest, TransientWritesLeaveImageAndDirectoryAsTheyWere) {
  const std::string raw = base("bottom");
  for (const CacheMode cache : {CacheMode::kWriteback, CacheMode::kNone}) {
    const auto opened = open({.path = raw, .cache = cache, .transient = true});
    if (!opened && cache == CacheMode::kNone) GTEST_SKIP() << opened.error().message();
    ASSERT_TRUE(opened) << opened.error().message();
    const auto& disk = *opened;
    EXPECT_FALSE(disk->read_only());
    ASSERT_TRUE(write(*disk, 4096, std::vector<uint8_t>(9000, 7)));
    ASSERT_TRUE(engine_->run_until_done(disk->flush()));
    EXPECT_EQ(read(*disk, 4096, 9000), std::vector<uint8_t>(9000, 7));
    EXPECT_EQ(read(*disk, 0, 3), (std::vector<uint8_t>{'b', 'o', 't'}));
    EXPECT_TRUE(engine_->run_until_done(disk->close()));
  }
  const auto again = open({.path = raw}).value();
  EXPECT_EQ(read(*again, 4096, 9000), std::vector<uint8_t>(9000));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1);
}

TEST_F(OpenChainTest, QcowImageIsNotSharedForWriting) {
  const std::string top = overlay("top", "", "");
  EXPECT_EQ(error_of({.path = top, .format = DiskFormat::kQcow2, .shareable = true}),
            ErrorKind::kInvalidConfig);
}

// One waits for the image that another is about to close, and uses it then: what the first has
// written is there, and stays.
class LockWaitTest : public OpenChainTest, public ::testing::WithParamInterface<const char*> {
 protected:
  static constexpr uint64_t kBytes = 64 << 20;
  static constexpr size_t kPiece = 1 << 20;

  // What the first one writes to, and what the second one opens.
  void create() {
    const std::string kind = GetParam();
    Qcow2CreateOptions options{.size_bytes = kBytes};
    written_ = read_ = directory_ / "image";
    if (kind == "raw") {
      create_image(written_, 0);
      ASSERT_EQ(::truncate(written_.c_str(), kBytes), 0);
      return;
    }
    format_ = DiskFormat::kQcow2;
    std::unique_ptr<LocalFile> data_file;
    if (kind == "data_file") {
      options.data_file_name = "data";
      data_file = LocalFile::open(*engine_, directory_ / "data", {.create = true}).value();
    }
    const auto file = LocalFile::open(*engine_, written_, {.create = true}).value();
    ASSERT_TRUE(engine_->run_until_done(create_qcow2(*file, options, data_file.get())));
    if (kind != "backing") return;
    read_ = directory_ / "top";
    const auto top = LocalFile::open(*engine_, read_, {.create = true}).value();
    options.backing_name = "image";
    options.backing_format = "qcow2";
    ASSERT_TRUE(engine_->run_until_done(create_qcow2(*top, options)));
  }
  static std::vector<uint8_t> piece(size_t index) {
    return std::vector<uint8_t>(kPiece, static_cast<uint8_t>(index + 1));
  }
  // Opens while the other writes its pieces; gives what it sees of them.
  void meet(bool read_only);

  DiskFormat format_ = DiskFormat::kRaw;
  std::string written_;
  std::string read_;
};

void LockWaitTest::meet(bool read_only) {
  auto first = open({.path = written_, .format = format_, .cache = CacheMode::kUnsafe}).value();
  std::promise<void> waits;
  auto opened = std::async(std::launch::async, [&] {
    const auto engine = IoEngine::create().value();
    waits.set_value();
    auto disk = engine->run_until_done(
        open_disk(*engine, {.path = read_, .format = format_, .read_only = read_only}));
    ASSERT_TRUE(disk) << disk.error().message();
    std::vector<uint8_t> data(kPiece);
    const iovec buffer{data.data(), data.size()};
    if (!read_only) {
      const std::vector<uint8_t> last = piece(60);
      std::ranges::copy(last, data.begin());
      ASSERT_TRUE(engine->run_until_done((*disk)->write(60 * kPiece, {&buffer, 1})));
      ASSERT_TRUE(engine->run_until_done((*disk)->flush()));
    }
    for (size_t i = 0; i < 8; ++i) {
      ASSERT_TRUE(engine->run_until_done((*disk)->read(i * kPiece, {&buffer, 1})));
      EXPECT_TRUE(data == piece(i)) << "piece " << i << " is lost";
      const auto status = engine->run_until_done((*disk)->block_status(i * kPiece, kPiece));
      ASSERT_TRUE(status);
      EXPECT_FALSE(status->zero) << "piece " << i << " counts as zeros";
    }
    ASSERT_TRUE(engine->run_until_done((*disk)->close()));
  });
  waits.get_future().wait();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  for (size_t i = 0; i < 8; ++i) ASSERT_TRUE(write(*first, i * kPiece, piece(i)));
  ASSERT_TRUE(engine_->run_until_done(first->close()));
  first.reset();
  opened.get();
  const auto again = open({.path = read_, .format = format_, .read_only = true}).value();
  for (size_t i = 0; i < 8; ++i)
    EXPECT_TRUE(read(*again, i * kPiece, kPiece) == piece(i)) << "piece " << i << " is gone";
}

TEST_P(LockWaitTest, ReaderSeesWhatTheWriterHasLeft) {
  create();
  meet(true);
}

TEST_P(LockWaitTest, WriterKeepsWhatTheWriterHasLeft) {
  create();
  meet(false);
}

INSTANTIATE_TEST_SUITE_P(Files, LockWaitTest,
                         ::testing::Values("raw", "qcow2", "data_file", "backing"),
                         [](const auto& test) { return std::string(test.param); });

TEST_F(OpenChainTest, ImageThatIsItsOwnBackingFileIsNamedAtOnce) {
  const std::string top = overlay("top", "top", "qcow2");
  const auto disk = open({.path = top, .format = DiskFormat::kQcow2});
  ASSERT_FALSE(disk);
  EXPECT_NE(disk.error().message().find("leads back"), std::string::npos) << disk.error().message();
}

TEST(EphemeralFile, LeavesNothingInTheDirectory) {
  const testing::TemporaryDirectory directory;
  const UniqueFd fd = create_ephemeral_file(directory.path()).value();
  struct stat facts;
  ASSERT_EQ(::fstat(fd.get(), &facts), 0);
  EXPECT_EQ(facts.st_nlink, 0U);
  EXPECT_EQ(facts.st_mode & 0777, 0600U);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(IoThread, RunsWhatIsPostedAndStopsTwice) {
  const auto io = IoThread::create().value();
  for (int round = 0; round < 2; ++round) {
    std::thread::id ran_on;
    ASSERT_TRUE(io->start("io0"));
    // Enters the kernel between the two, so that the ring has to be this thread's.
    std::promise<void> entered;
    io->post([&] { ran_on = std::this_thread::get_id(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    io->post([&] { entered.set_value(); });
    entered.get_future().wait();
    io->stop();
    EXPECT_NE(ran_on, std::thread::id());
    EXPECT_NE(ran_on, std::this_thread::get_id());
  }
}

// As virtio-blk does it: opened here, used there, closed here.
TEST(IoThread, DiskOpenedBeforeStartIsUsedOnTheThread) {
  for (const IoEngineKind kind : {IoEngineKind::kAutomatic, IoEngineKind::kThreads}) {
    const testing::TemporaryDirectory directory;
    const std::string path = directory / "disk";
    const UniqueFd fd = open_file(path, O_RDWR | O_CREAT).value();
    ASSERT_EQ(::ftruncate(fd.get(), 1 << 20), 0);
    const auto io = IoThread::create(kind).value();
    const auto disk = io->engine().run_until_done(open_disk(io->engine(), {.path = path})).value();
    std::vector<uint8_t> data(4096, 7);
    const iovec buffer{data.data(), data.size()};
    unsigned written = 0;
    auto write = [&](uint64_t offset) -> Task<void> {
      const auto result = co_await disk->write(offset, {&buffer, 1});
      written += result.has_value() ? 1 : 0;
    };
    ASSERT_TRUE(io->start("io0"));
    io->post([&] {
      for (unsigned i = 0; i < 256; ++i) start_detached(write(i * 4096ULL));
    });
    io->stop();
    EXPECT_EQ(written, 256U);
    EXPECT_TRUE(io->engine().run_until_done(disk->close()));
  }
}

}  // namespace
}  // namespace hull::blockcore
