// Images that qemu-img made: hull reads what QEMU reads, and writes to them without spoiling what
// snapshots and compressed clusters share.
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "blockcore/qcow2/check/check.h"
#include "tests/support/disk_trace.h"
#include "tests/support/faulty_file.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::DiskTrace;
using testing::FaultPlan;
using testing::FaultyFile;
using testing::MemoryFile;
using testing::run_command;
using testing::run_now;
using testing::ShuffledFile;
using testing::ShuffleQueue;

constexpr size_t kSize = 3 << 20;

// Text-like parts, noise, and holes.
Bytes make_contents(std::mt19937& random) {
  Bytes contents(kSize);
  for (size_t at = 0; at < kSize; at += 32768) {
    const uint32_t kind = random() % 4;
    for (size_t i = at; kind != 0 && i < at + 32768; ++i)
      contents[i] = static_cast<uint8_t>(kind == 1 ? random() : 104 + i % 5 * 3 + (i >> 12) % 3);
  }
  return contents;
}

class QemuImages : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!testing::have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
    contents_ = make_contents(random_);
    testing::save_file(directory_ / "raw", contents_);
  }
  void run(const std::string& command) const {
    const auto result = run_command("cd " + directory_.path() + " && " + command);
    ASSERT_EQ(result.exit_code, 0) << command << ": " << result.output;
  }
  // Compressed everywhere, a snapshot of that, then some of it written again in place.
  Bytes make_shared_image(const std::string& options) {
    run("qemu-img convert -c -f raw -O qcow2 -o " + options + " raw image");
    run("qemu-io -f qcow2 -c 'write -P 17 1M 300k' image");
    run("qemu-img snapshot -c before image");
    run("qemu-io -f qcow2 -c 'write -P 34 1100k 70k' -c 'write -z 2M 100k' image");
    run("qemu-img convert -f qcow2 -O raw image raw");
    run("qemu-img convert -l before -f qcow2 -O raw image snapshot");
    return testing::load_file(directory_ / "image");
  }
  void expect_clean(const Bytes& image) {
    testing::save_file(directory_ / "image", image);
    run("qemu-img check -f qcow2 image");
    run("qemu-img convert -l before -f qcow2 -O raw image after");
    EXPECT_EQ(testing::load_file(directory_ / "after"),
              testing::load_file(directory_ / "snapshot"));
  }

  const testing::TemporaryDirectory directory_;
  std::mt19937 random_{4};
  Bytes contents_;
};

TEST_P(QemuImages, PlainAndCompressedReadAlike) {
  for (const char* flag : {"", "-c "}) {
    SCOPED_TRACE(flag);
    run(std::string("qemu-img convert ") + flag + "-f raw -O qcow2 -o " + GetParam() +
        " raw image");
    const auto disk = testing::open_qcow2(testing::load_file(directory_ / "image"));
    ASSERT_TRUE(disk) << disk.error().message();
    EXPECT_EQ(*testing::read_disk(**disk), contents_);
    EXPECT_EQ(*testing::read_disk(**disk, 100001, 70003),
              Bytes(contents_.begin() + 100001, contents_.begin() + 170004));
  }
}

INSTANTIATE_TEST_SUITE_P(Options, QemuImages,
                         ::testing::Values("cluster_size=512", "refcount_bits=1,cluster_size=4k",
                                           "cluster_size=64k",
                                           "cluster_size=64k,refcount_bits=8,compression_type=zstd",
                                           "cluster_size=2M", "cluster_size=64k,compat=0.10",
                                           "cluster_size=512,compression_type=zstd"));

// Narrow refcounts cannot count a snapshot's references to many small compressed clusters.
class QemuSnapshots : public QemuImages {};

TEST_P(QemuSnapshots, WritingKeepsSnapshotsAndRefcounts) {
  Bytes image = make_shared_image(GetParam());
  Bytes model = testing::load_file(directory_ / "raw");
  ShuffleQueue queue;
  auto memory = std::make_unique<MemoryFile>(image);
  MemoryFile& file = *memory;
  const auto finish = [&queue](Task<Result<void>> task) {
    std::optional<Result<void>> result;
    start_detached([](Task<Result<void>> inner, std::optional<Result<void>>& out) -> Task<void> {
      out.emplace(co_await inner);
    }(std::move(task), result));
    while (!queue.empty()) queue.resume(0);
    return result && result->has_value();
  };
  std::unique_ptr<Qcow2Disk> disk;
  start_detached([](std::unique_ptr<File> opened, std::unique_ptr<Qcow2Disk>& out) -> Task<void> {
    out = *co_await Qcow2Disk::open(std::move(opened), {.l2_cache_bytes = 16384});
  }(std::make_unique<ShuffledFile>(std::move(memory), queue), disk));
  while (!queue.empty()) queue.resume(0);
  ASSERT_NE(disk, nullptr);
  DiskTrace trace(*disk, model, queue, random_);
  ASSERT_EQ(trace.verify(), "");
  for (unsigned round = 0; round < 4; ++round) ASSERT_EQ(trace.run(40, 8), "");
  ASSERT_EQ(trace.verify(), "");
  ASSERT_TRUE(finish(disk->close()));
  expect_clean(file.bytes());
}

// The table of a snapshot is copied before it is changed: whatever is lost in a crash, the old one
// or a complete new one is there.
TEST_P(QemuSnapshots, CrashWhileTablesAreCopiedKeepsEverything) {
  const Bytes image = make_shared_image(GetParam());
  const Bytes model = testing::load_file(directory_ / "raw");
  FaultPlan plan;
  auto disk =
      testing::open_qcow2(std::make_unique<FaultyFile>(std::make_unique<MemoryFile>(image), plan));
  ASSERT_TRUE(disk) << disk.error().message();
  ASSERT_TRUE(testing::write_disk(**disk, 4096, Bytes(512, 99)));
  ASSERT_TRUE(testing::write_disk(**disk, kSize - 8192, Bytes(512, 98)));
  ASSERT_TRUE(run_now((*disk)->close()));
  for (size_t crash = 0; crash <= plan.log.size(); ++crash) {
    for (unsigned subset = 0; subset < 2; ++subset) {
      SCOPED_TRACE(crash);
      const Bytes left =
          plan.replay_reordered(image, crash, [&](size_t) { return random_() % 2 == 0; });
      MemoryFile file(left);
      const auto header = run_now(qcow2::ImageHeader::read(file));
      ASSERT_TRUE(header);
      const auto checked = run_now(qcow2::check_image(file, **header));
      ASSERT_TRUE(checked);
      ASSERT_EQ(checked->findings.corruptions, 0U) << checked->findings.messages.front();
      const auto survivor = testing::open_qcow2(left);
      ASSERT_TRUE(survivor);
      Bytes data = *testing::read_disk(**survivor);
      std::copy_n(model.begin() + 4096, 512, data.begin() + 4096);
      std::copy_n(model.begin() + kSize - 8192, 512, data.begin() + kSize - 8192);
      ASSERT_EQ(data == model, true);
    }
  }
}

TEST_P(QemuSnapshots, CheckAgreesWithQemu) {
  make_shared_image(GetParam());
  MemoryFile file(testing::load_file(directory_ / "image"));
  const auto header = run_now(qcow2::ImageHeader::read(file));
  ASSERT_TRUE(header);
  const auto checked = run_now(qcow2::check_image(file, **header));
  ASSERT_TRUE(checked) << checked.error().message();
  EXPECT_EQ(checked->findings.corruptions, 0U) << checked->findings.messages.front();
  EXPECT_EQ(checked->leaks, 0U);
}

INSTANTIATE_TEST_SUITE_P(Options, QemuSnapshots,
                         ::testing::Values("cluster_size=512", "cluster_size=1k,refcount_bits=64",
                                           "cluster_size=4k,refcount_bits=16",
                                           "cluster_size=16k,refcount_bits=32", "cluster_size=64k",
                                           "cluster_size=64k,refcount_bits=8,compression_type=zstd",
                                           "cluster_size=256k", "cluster_size=2M",
                                           "cluster_size=64k,compat=0.10"));

class QemuLazy : public QemuImages {};

TEST_P(QemuLazy, DirtyImageIsRepairedWhenOpenedForWriting) {
  run("qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=4k image 3M");
  // Killed while the refcounts are only in memory.
  run_command("cd " + directory_.path() +
              " && qemu-io -f qcow2 -c 'write -P 5 0 1M' -c flush -c 'sigraise 9' image");
  const Bytes image = testing::load_file(directory_ / "image");
  ASSERT_EQ(image[79] & 1, 1);
  auto memory = std::make_unique<MemoryFile>(image);
  MemoryFile& file = *memory;
  const auto disk = testing::open_qcow2(std::move(memory));
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_EQ(*testing::read_disk(**disk, 0, 1 << 20), Bytes(1 << 20, 5));
  ASSERT_TRUE(testing::write_disk(**disk, 2 << 20, Bytes(5000, 6)));
  ASSERT_TRUE(run_now((*disk)->close()));
  EXPECT_EQ(file.bytes()[79] & 1, 0);
  EXPECT_EQ(file.bytes()[87] & 1, 1);  // lazy refcounts stay on
  testing::save_file(directory_ / "image", file.bytes());
  run("qemu-img check -f qcow2 image");
}
INSTANTIATE_TEST_SUITE_P(Lazy, QemuLazy, ::testing::Values(""));

}  // namespace
}  // namespace hull::blockcore
