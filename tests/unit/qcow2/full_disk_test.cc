// Every single allocation of a host cluster fails, one after the other: no cluster is free, or the
// file system is full from there on, or the block device ends there. What was there before stays;
// once there is room, all goes on.
#include <gtest/gtest.h>

#include "blockcore/raw_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/qcow2_subject.h"
#include "tests/support/sanitizers.h"

namespace hull::blockcore {
namespace {

using testing::FaultPlan;
using testing::FaultyFile;
using testing::kImageFile;
using testing::MemoryFile;
using testing::Qcow2Subject;
using testing::SubjectGeometry;
using testing::SubjectState;
using Backing = SubjectGeometry::Backing;

constexpr unsigned kSeeds = testing::kSanitizerFactor == 1 ? 4 : 1;

// What the host of the image has.
struct Room {
  unsigned full_at = 0;  // FaultPlan
  uint64_t bytes = 0;
  bool is_known = false;
};

class Qcow2FullDisk : public ::testing::TestWithParam<SubjectGeometry> {
 protected:
  // What is done while there is no room: `name` is a change of the image, or "requests".
  std::string act(Qcow2Subject& subject, const std::string& name) {
    return name == "requests" ? subject.trace(30, 5) : subject.change(name);
  }
  // Something that all changes can work on.
  void prepare(Qcow2Subject& subject, const std::string& name) {
    if (name == "requests") return;
    ASSERT_EQ(subject.trace(4, 3), "");
    if (name == "bitmaps" || name == "delete_snapshot" || name == "apply_snapshot") {
      ASSERT_EQ(subject.change(name == "bitmaps" ? name : "create_snapshot"), "");
    }
    ASSERT_EQ(subject.trace(4, 3), "");
    ASSERT_EQ(subject.flush(), "");
  }
  uint64_t image_bytes(const Qcow2Subject& subject) {
    return subject.current_files()[kImageFile].size();
  }
  // Returns whether something failed.
  bool try_without(const Room& room);
  void fail_everywhere(const std::string& name, unsigned seed);
  void fill_up(const std::string& name, unsigned seed);
  std::mt19937 random_;
  std::string name_;
  unsigned seed_ = 0;
  SubjectState after_;  // if nothing fails
  unsigned failures_ = 0;
};

bool Qcow2FullDisk::try_without(const Room& room) {
  random_.seed(seed_);
  FaultPlan plan;
  Qcow2Subject subject(GetParam(), random_, &plan);
  prepare(subject, name_);
  const SubjectState before = subject.state();
  plan.full_at = room.full_at;
  plan.room_bytes = room.bytes;
  plan.room_is_known = room.is_known;
  subject.allow_failures();
  EXPECT_EQ(act(subject, name_), "");
  const bool failed = subject.failed();
  if (name_ != "requests") {
    EXPECT_EQ(judge_survivor(GetParam(), subject.current_files(), before, after_), "");
  }
  if (!subject.is_open()) return failed;
  EXPECT_EQ(subject.verify(), "");
  plan.room_bytes = plan.full_at = 0;
  plan.full = false;
  EXPECT_EQ(subject.trace(8, 4), "");
  EXPECT_FALSE(subject.failed());
  EXPECT_EQ(subject.reopen(), "");
  EXPECT_EQ(subject.verify(), "");
  return failed;
}

void Qcow2FullDisk::fill_up(const std::string& name, unsigned seed) {
  name_ = name;
  seed_ = seed;
  random_.seed(seed);
  Qcow2Subject sound(GetParam(), random_);
  prepare(sound, name);
  const uint64_t first = image_bytes(sound);
  ASSERT_EQ(act(sound, name), "");
  after_ = sound.state();
  ASSERT_EQ(sound.flush(), "");
  const uint64_t last = image_bytes(sound);

  const uint64_t cluster_bytes = uint64_t{1} << GetParam().cluster_bits;
  for (const bool is_known : {false, true})
    for (uint64_t bytes = first / cluster_bytes * cluster_bytes; bytes < last && !HasFailure();
         bytes += cluster_bytes) {
      SCOPED_TRACE(fmt::format("{}, seed {}, room for {:#x} of {:#x} bytes{}", name, seed, bytes,
                               last, is_known ? ", known" : ""));
      failures_ += try_without({.bytes = bytes, .is_known = is_known}) ? 1 : 0;
    }
  bool failed = true;
  for (unsigned full_at = 1; failed && !HasFailure(); ++full_at) {
    SCOPED_TRACE(fmt::format("{}, seed {}, full at {}", name, seed, full_at));
    failed = try_without({.full_at = full_at});
    failures_ += failed ? 1 : 0;
  }
}

TEST_P(Qcow2FullDisk, RequestsFailAndGoOnWhenThereIsRoom) {
  for (unsigned seed = 1; seed <= kSeeds && !HasFailure(); ++seed) fill_up("requests", seed);
  EXPECT_GT(failures_, 10U);
}

TEST_P(Qcow2FullDisk, ChangesLeaveTheOldOrTheNew) {
  std::vector<std::string> names = Qcow2Subject(GetParam(), random_).names();
  names.erase(std::ranges::unique(names).begin(), names.end());
  for (const std::string& name : names)
    for (unsigned seed = 1; seed <= kSeeds && !HasFailure(); ++seed) fill_up(name, seed);
  EXPECT_GT(failures_, 10U);
}

INSTANTIATE_TEST_SUITE_P(
    Geometries, Qcow2FullDisk,
    ::testing::Values(
        SubjectGeometry{.name = "512", .cluster_bits = 9, .size_bytes = 30 << 10},
        SubjectGeometry{.name = "512, several tables", .cluster_bits = 9, .size_bytes = 150 << 10},
        SubjectGeometry{.name = "1k 64 bit on qcow2",
                        .cluster_bits = 10,
                        .refcount_order = 6,
                        .size_bytes = 50 << 10,
                        .backing = Backing::kQcow2},
        SubjectGeometry{.name = "4k on raw",
                        .cluster_bits = 12,
                        .size_bytes = 200 << 10,
                        .backing = Backing::kRaw,
                        .lazy_refcounts = true},
        SubjectGeometry{.name = "v2 64k", .version = 2, .size_bytes = 600 << 10},
        SubjectGeometry{.name = "extended 16k on qcow2",
                        .cluster_bits = 14,
                        .size_bytes = 300 << 10,
                        .backing = Backing::kQcow2,
                        .extended_l2 = true}));

// A table for which there is room, and no room for the data that it is to map.
TEST(Qcow2FullDisk, SecondTableWithoutRoomForItsDataLiesInsideTheFile) {
  constexpr uint64_t kCluster = 65536;
  FaultPlan plan;
  auto memory =
      std::make_unique<MemoryFile>(testing::make_qcow2({.size_bytes = uint64_t{2} << 30}));
  MemoryFile& file = *memory;
  auto disk = testing::open_qcow2(std::make_unique<FaultyFile>(std::move(memory), plan));
  ASSERT_TRUE(disk) << disk.error().message();
  const testing::Bytes data(kCluster, 0x5a);
  ASSERT_TRUE(testing::write_disk(**disk, 0, data));
  ASSERT_TRUE(testing::write_disk(**disk, kCluster, data));
  ASSERT_TRUE(testing::run_now((*disk)->flush()));
  ASSERT_TRUE(testing::run_now((*disk)->discard(kCluster, kCluster)));
  ASSERT_TRUE(testing::run_now((*disk)->flush()));
  ASSERT_TRUE(testing::write_disk(**disk, 0, data));
  plan.room_bytes = kCluster;
  EXPECT_FALSE(testing::write_disk(**disk, uint64_t{512} << 20, data));
  plan.room_bytes = 0;
  ASSERT_TRUE(testing::run_now((*disk)->flush()));
  EXPECT_EQ(testing::trouble_in_image(file.bytes(), true), "");
  ASSERT_TRUE(testing::run_now((*disk)->close()));
  EXPECT_EQ(testing::trouble_in_image(file.bytes(), true), "");
}

// All that the device has is used, to the last cluster.
TEST(Qcow2FullDevice, HoldsWhatItCanAndSaysThatItIsFull) {
  constexpr uint64_t kCluster = 4096;
  const testing::Bytes image = testing::make_qcow2({.size_bytes = 1 << 20, .cluster_bits = 12});
  FaultPlan plan;
  plan.room_bytes = 40 * kCluster;
  plan.room_is_known = true;
  auto memory = std::make_unique<MemoryFile>(image);
  const MemoryFile& file = *memory;
  auto disk = testing::open_qcow2(std::make_unique<FaultyFile>(std::move(memory), plan));
  ASSERT_TRUE(disk) << disk.error().message();
  const testing::Bytes data(kCluster, 0x5a);
  uint64_t held = 0;
  Result<void> written;
  for (; (written = testing::write_disk(**disk, held * kCluster, data)); ++held) {
  }
  EXPECT_EQ(written.error().kind(), ErrorKind::kNoSpace);
  EXPECT_NE(written.error().message().find("filled"), std::string::npos)
      << written.error().message();
  // Header, refcount table and block, L1 and L2 table.
  EXPECT_EQ(held, 40U - 5U);
  EXPECT_EQ(file.size_bytes(), 40 * kCluster);
  EXPECT_TRUE(testing::write_disk(**disk, 0, data)) << "what is allocated can be written";
}

}  // namespace
}  // namespace hull::blockcore
