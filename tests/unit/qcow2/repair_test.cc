// Damaged metadata, repaired: the image is clean afterwards, in our eyes and in qemu-img's, and
// reads as before; a repair that is cut off at any moment has made nothing worse.
#include <gtest/gtest.h>

#include <random>

#include "base/endian.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "blockcore/qcow2/format/refcount_block.h"
#include "tests/support/faulty_file.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

using qcow2::CheckResult;
using qcow2::Repair;
using testing::Bytes;
using testing::FaultPlan;
using testing::FaultyFile;
using testing::MemoryFile;
using testing::run_now;

Bytes read_all(const Bytes& image) {
  auto disk = testing::open_qcow2(image, {.read_only = true});
  if (!disk) return {};
  auto data = testing::read_disk(**disk);
  return data ? *std::move(data) : Bytes{};
}

Result<CheckResult> check(const Bytes& image) {
  MemoryFile file(image);
  auto header = run_now(qcow2::ImageHeader::read(file));
  if (!header) return std::unexpected(header.error());
  return run_now(qcow2::check_image(file, **header));
}

Result<CheckResult> repair(File& file, Repair what) {
  auto header = run_now(qcow2::ImageHeader::read(file));
  if (!header) return std::unexpected(header.error());
  return run_now(qcow2::repair_image(file, *header, what));
}

// Changes the metadata of an image in memory.
class Damager {
 public:
  explicit Damager(Bytes& image) : image_(image) {
    MemoryFile file(image);
    auto header = run_now(qcow2::ImageHeader::read(file));
    CHECK(header.has_value());
    header_ = **header;
  }
  const qcow2::Geometry& geometry() const { return header_.geometry; }

  uint64_t word(uint64_t offset) const {
    Be64 raw;
    std::memcpy(&raw, image_.data() + offset, sizeof raw);
    return raw;
  }
  void set_word(uint64_t offset, uint64_t value) {
    const Be64 raw = value;
    std::memcpy(image_.data() + offset, &raw, sizeof raw);
  }
  uint64_t refcount_table() const { return header_.refcount_table_offset; }
  uint64_t l1_entry_at(uint64_t index) const { return header_.l1_offset + index * 8; }
  uint64_t l1_entries() const { return header_.l1_entries; }
  uint64_t l2_entry_at(uint64_t cluster) const {
    const uint64_t table = word(l1_entry_at(geometry().l1_index(cluster))) & qcow2::kOffsetMask;
    return table == 0 ? 0 : table + (cluster & (geometry().l2_entries() - 1)) * 8;
  }
  void set_count(uint64_t cluster, uint64_t count) {
    const uint64_t per_block = geometry().refcounts_per_block();
    const uint64_t block = word(refcount_table() + cluster / per_block * 8);
    if (block == 0 || geometry().offset_in_cluster(block) != 0 || block >= image_.size()) return;
    qcow2::set_refcount(reinterpret_cast<std::byte*>(image_.data() + block),
                        geometry().refcount_order, cluster % per_block, count);
  }

  // One thing that a repair can put right.
  void damage(std::mt19937& random) {
    const uint64_t clusters = image_.size() >> geometry().cluster_bits;
    const uint64_t guest = random() % geometry().clusters_for(header_.size_bytes);
    const uint64_t entry = l2_entry_at(guest);
    const uint64_t l1 = l1_entry_at(random() % l1_entries());
    switch (random() % 8) {
      case 0:
      case 1:
      case 2: set_count(random() % clusters, random() & geometry().max_refcount()); break;
      case 3:  // no refcount block
        set_word(refcount_table(), random() % 2 == 0 ? 0 : word(refcount_table()) | 256);
        break;
      case 4:  // a block outside the file
        set_word(refcount_table(), uint64_t{clusters + 10} << geometry().cluster_bits);
        break;
      case 5:  // data that counts as shared, or the other way round
        if (entry != 0 && (word(entry) & qcow2::kOffsetMask) != 0 &&
            (word(entry) & qcow2::kCompressedFlag) == 0)
          set_word(entry, word(entry) ^ qcow2::kCopiedFlag);
        break;
      case 6:
        if (word(l1) != 0) set_word(l1, word(l1) ^ qcow2::kCopiedFlag);
        break;
      default:  // a zero cluster with an impossible place
        if (entry != 0 && word(entry) == qcow2::kZeroFlag && header_.version >= 3)
          set_word(entry, (clusters / 2 << geometry().cluster_bits) + 512 + qcow2::kZeroFlag);
        break;
    }
  }

 private:
  Bytes& image_;
  qcow2::Header header_;
};

struct RepairCase {
  const char* name;
  uint32_t version;
  uint32_t cluster_bits;
  uint32_t refcount_order;
  bool snapshots;
};
void PrintTo(const RepairCase& one, std::ostream* out) { *out << one.name; }

class Qcow2Repair : public ::testing::TestWithParam<RepairCase> {
 protected:
  void SetUp() override {
    const RepairCase& one = GetParam();
    const uint64_t size = uint64_t{300} << one.cluster_bits;
    auto file =
        std::make_unique<MemoryFile>(testing::make_qcow2({.size_bytes = size,
                                                          .version = one.version,
                                                          .cluster_bits = one.cluster_bits,
                                                          .refcount_order = one.refcount_order}));
    MemoryFile& memory = *file;
    auto disk = testing::open_qcow2(std::move(file));
    ASSERT_TRUE(disk);
    std::mt19937 random{5};
    const uint64_t cluster = uint64_t{1} << one.cluster_bits;
    for (unsigned i = 0; i < 60; ++i) {
      const uint64_t at = random() % 290 * cluster;
      if (i % 6 == 5) {
        ASSERT_TRUE(run_now((*disk)->write_zeroes(at, 3 * cluster, true)));
        continue;
      }
      Bytes data(cluster / 2 + random() % (2 * cluster));
      for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
      ASSERT_TRUE(testing::write_disk(**disk, at, data));
    }
    ASSERT_TRUE(run_now((*disk)->close()));
    image_ = memory.bytes();
    if (one.snapshots && testing::have_qemu_img()) add_snapshots();
    image_.resize((image_.size() + cluster - 1) / cluster * cluster);
    contents_ = read_all(image_);
    ASSERT_EQ(contents_.size(), size);
    ASSERT_EQ(check(image_)->findings.corruptions, 0U);
  }

  void add_snapshots() {
    const std::string path = directory_ / "image";
    testing::save_file(path, image_);
    for (const char* const name : {"a", "b"})
      ASSERT_EQ(
          testing::run_command(std::string("qemu-img snapshot -c ") + name + " " + path).exit_code,
          0);
    image_ = testing::load_file(path);
  }

  void expect_clean(const Bytes& image, bool ask_qemu) {
    const auto checked = check(image);
    ASSERT_TRUE(checked) << checked.error().message();
    EXPECT_EQ(checked->findings.corruptions, 0U) << checked->findings.messages.front();
    EXPECT_EQ(checked->leaks, 0U) << checked->findings.messages.front();
    EXPECT_EQ(read_all(image), contents_);
    if (!ask_qemu || !testing::have_qemu_img()) return;
    const std::string path = directory_ / "image";
    testing::save_file(path, image);
    const auto qemu = testing::run_command("qemu-img check " + path);
    EXPECT_EQ(qemu.exit_code, 0) << qemu.output;
  }

  testing::TemporaryDirectory directory_;
  Bytes image_;
  Bytes contents_;
};

TEST_P(Qcow2Repair, DamageIsRepairedAndNoDataLost) {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random{seed};
    Bytes damaged = image_;
    Damager damager(damaged);
    const unsigned many = 1 + seed % 7;
    for (unsigned i = 0; i < many; ++i) damager.damage(random);
    MemoryFile file(damaged);
    const auto repaired = repair(file, Repair::kAll);
    ASSERT_TRUE(repaired) << repaired.error().message();
    EXPECT_EQ(repaired->findings.corruptions, 0U);
    EXPECT_EQ(repaired->leaks, 0U);
    expect_clean(file.bytes(), seed % 5 == 0);
    if (HasFailure()) return;
  }
}

TEST_P(Qcow2Repair, CutOffRepairCanBeRepeated) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random{seed};
    Bytes damaged = image_;
    Damager damager(damaged);
    for (unsigned i = 0; i < 4; ++i) damager.damage(random);
    FaultPlan plan;
    FaultyFile file(std::make_unique<MemoryFile>(damaged), plan);
    ASSERT_TRUE(repair(file, Repair::kAll));
    for (size_t moment = 0; moment <= plan.log.size(); ++moment) {
      SCOPED_TRACE(moment);
      const auto keep = [&random](size_t) { return random() % 2 == 0; };
      MemoryFile left(plan.replay_reordered(damaged, moment, keep));
      const auto again = repair(left, Repair::kAll);
      ASSERT_TRUE(again) << again.error().message();
      expect_clean(left.bytes(), false);
      if (HasFailure()) return;
    }
  }
}

TEST_P(Qcow2Repair, FailingWriteIsReportedAndCanBeRepeated) {
  std::mt19937 random{3};
  Bytes damaged = image_;
  Damager damager(damaged);
  for (unsigned i = 0; i < 5; ++i) damager.damage(random);
  for (unsigned fail_at = 1; fail_at < 60; ++fail_at) {
    SCOPED_TRACE(fail_at);
    FaultPlan plan;
    plan.fail_at = fail_at;
    plan.error = ENOSPC;
    auto inner = std::make_unique<MemoryFile>(damaged);
    MemoryFile& memory = *inner;
    FaultyFile file(std::move(inner), plan);
    const auto failed = repair(file, Repair::kAll);
    if (plan.fail_at != 0) return;  // all of it is through
    EXPECT_FALSE(failed);
    ASSERT_TRUE(repair(memory, Repair::kAll));
    expect_clean(memory.bytes(), false);
    if (HasFailure()) return;
  }
}

TEST_P(Qcow2Repair, LeaksAloneAreRepairedAlone) {
  Bytes damaged = image_;
  Damager damager(damaged);
  const uint64_t last = (damaged.size() >> damager.geometry().cluster_bits) - 1;
  damaged.resize(damaged.size() + 2 * damager.geometry().cluster_bytes());
  damager.set_count(last + 1, 1);
  damager.set_count(last + 2, 1);
  EXPECT_EQ(check(damaged)->leaks, 2U);
  MemoryFile file(damaged);
  const auto repaired = repair(file, Repair::kLeaks);
  ASSERT_TRUE(repaired);
  EXPECT_EQ(repaired->leaks_fixed, 2U);
  expect_clean(file.bytes(), true);
}

TEST_P(Qcow2Repair, LeakRepairLeavesErrorsAlone) {
  Bytes damaged = image_;
  Damager damager(damaged);
  const uint64_t entry = damager.l2_entry_at(0);
  ASSERT_NE(entry, 0U);
  damager.set_count(0, 0);
  MemoryFile file(damaged);
  const auto repaired = repair(file, Repair::kLeaks);
  ASSERT_TRUE(repaired);
  EXPECT_TRUE(repaired->needs_rebuild);
  EXPECT_EQ(file.bytes(), damaged);
}

INSTANTIATE_TEST_SUITE_P(Images, Qcow2Repair,
                         ::testing::Values(RepairCase{"v3_512_1bit", 3, 9, 0, false},
                                           RepairCase{"v3_512_snapshots", 3, 9, 4, true},
                                           RepairCase{"v3_4k_4bit_snapshots", 3, 12, 2, true},
                                           RepairCase{"v3_4k_64bit_snapshots", 3, 12, 6, true},
                                           RepairCase{"v2_4k_snapshots", 2, 12, 4, true},
                                           RepairCase{"v3_8k", 3, 13, 4, false}));

// Marks in the header.
Bytes marked_image(uint64_t marks) {
  Bytes image = testing::make_qcow2({.size_bytes = 1 << 20});
  image[79] = static_cast<uint8_t>(marks);
  return image;
}

TEST(Qcow2RepairMarks, AreClearedWhenAllIsWell) {
  for (const Repair what : {Repair::kLeaks, Repair::kAll}) {
    MemoryFile file(marked_image(qcow2::kIncompatibleDirty | qcow2::kIncompatibleCorrupt));
    ASSERT_TRUE(repair(file, what));
    EXPECT_EQ(file.bytes()[79], 0);
  }
}

TEST(Qcow2RepairMarks, StayWhileAnErrorRemains) {
  Bytes image = marked_image(qcow2::kIncompatibleCorrupt);
  Damager damager(image);
  // An L2 table in a cluster outside the file.
  damager.set_word(damager.l1_entry_at(0), uint64_t{1} << 40);
  MemoryFile file(image);
  const auto repaired = repair(file, Repair::kAll);
  ASSERT_TRUE(repaired);
  EXPECT_NE(repaired->findings.corruptions, 0U);
  EXPECT_EQ(file.bytes()[79], qcow2::kIncompatibleCorrupt);
}

TEST(Qcow2RepairMarks, NewStructuresKeepOffPlacesThatEntriesPointAt) {
  Bytes image = testing::make_qcow2({.size_bytes = 1 << 20});
  Damager damager(image);
  // Where a table would go that is simply appended: two clusters behind the end.
  const uint64_t behind = (image.size() + (1 << 16) - 1) >> 16;
  damager.set_word(damager.l1_entry_at(0), (behind + 1) << 16);
  damager.set_count(0, 0);
  MemoryFile file(image);
  ASSERT_TRUE(repair(file, Repair::kAll));
  const Damager after(file.bytes());
  EXPECT_GT(after.refcount_table() >> 16, behind + 1);
}

// As programs from before version 3 write it: without the size of the disk.
Bytes image_with_short_snapshots() {
  auto memory = std::make_unique<MemoryFile>(
      testing::make_qcow2({.size_bytes = 1 << 20, .cluster_bits = 12}));
  MemoryFile& file = *memory;
  const auto disk = testing::open_qcow2(std::move(memory)).value();
  CHECK(testing::write_disk(*disk, 5000, Bytes(9000, 0x11)).has_value());
  CHECK(run_now(qcow2::create_snapshot(disk->parts(), {.name = "before"})).has_value());
  CHECK(testing::write_disk(*disk, 7000, Bytes(9000, 0x22)).has_value());
  CHECK(run_now(disk->close()).has_value());
  Bytes image = file.bytes();
  uint8_t* const entry = image.data() + disk->header().snapshots_offset;
  std::memmove(entry + 40, entry + 40 + 24, 200);
  std::fill_n(entry + 36, 4, uint8_t{0});
  return image;
}

TEST(Qcow2RepairSnapshots, EntriesBecomeComplete) {
  const Bytes image = image_with_short_snapshots();
  const auto found = check(image);
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found->findings.corruptions, 1U);
  EXPECT_EQ(found->findings.messages.back(), "ERROR snapshot table entry 0 is incomplete");
  FaultPlan plan;
  auto memory = std::make_unique<MemoryFile>(image);
  MemoryFile& file = *memory;
  FaultyFile recorded(std::move(memory), plan);
  const auto repaired = repair(recorded, Repair::kAll);
  ASSERT_TRUE(repaired) << repaired.error().message();
  EXPECT_EQ(repaired->findings.corruptions, 0U);
  EXPECT_EQ(repaired->findings.corruptions_fixed, 1U);
  const auto again = check(file.bytes());
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->findings.corruptions + again->leaks, 0U);
  std::mt19937 random(1);
  for (size_t crash = 0; crash <= plan.log.size(); ++crash) {
    const Bytes survivor = plan.replay_torn(image, crash, random);
    EXPECT_LE(check(survivor)->findings.corruptions, 1U) << crash;
    EXPECT_EQ(read_all(survivor), read_all(image)) << crash;
  }
  const auto disk = testing::open_qcow2(file.bytes()).value();
  ASSERT_TRUE(run_now(qcow2::apply_snapshot(disk->parts(), 0)));
  EXPECT_EQ(testing::read_disk(*disk, 13000, 1000).value(), Bytes(1000, 0x11));
}

TEST(Qcow2Check, TableSharedBySnapshotsIsReadOnce) {
  if (!testing::have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
  const testing::TemporaryDirectory directory;
  const std::string path = directory / "image";
  testing::save_file(path, testing::make_qcow2({.size_bytes = 1 << 20}));
  ASSERT_EQ(testing::run_command("qemu-io -c 'write 0 1M' " + path).exit_code, 0);
  const auto reads = [&path] {
    FaultPlan plan;
    FaultyFile file(std::make_unique<MemoryFile>(testing::load_file(path)), plan);
    auto header = run_now(qcow2::ImageHeader::read(file));
    EXPECT_TRUE(header);
    EXPECT_TRUE(run_now(qcow2::check_image(file, **header)));
    return plan.reads;
  };
  const auto add_snapshot = [&path](const std::string& name) {
    ASSERT_EQ(testing::run_command("qemu-img snapshot -c " + name + " " + path).exit_code, 0);
  };
  add_snapshot("one");
  const unsigned with_one = reads();
  for (unsigned i = 0; i < 5; ++i) add_snapshot("s" + std::to_string(i));
  // Per snapshot its entry in the directory (two reads) and its L1 table.
  EXPECT_EQ(reads(), with_one + 5 * 3);
}

}  // namespace
}  // namespace hull::blockcore
