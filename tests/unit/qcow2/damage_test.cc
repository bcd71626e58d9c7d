// Damage in one structure keeps nobody from the rest: the disk reads as before, a check looks at
// everything and reports it, a repair changes neither the disk nor what it cannot know.
#include <gtest/gtest.h>

#include "base/endian.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "blockcore/qcow2/parts.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::MemoryFile;
using testing::run_now;

constexpr size_t kDiskBytes = 1 << 20;

// Two snapshots, and data of a third kind in the active mapping.
Bytes make_image() {
  auto owned = std::make_unique<MemoryFile>(testing::make_qcow2({.size_bytes = kDiskBytes}));
  MemoryFile& file = *owned;
  auto disk = testing::open_qcow2(std::move(owned));
  CHECK(disk.has_value());
  for (const char* name : {"one", "two", ""}) {
    const Bytes data(300'000, static_cast<uint8_t>(*name + 1));
    CHECK(testing::write_disk(**disk, 1000, data).has_value());
    if (*name == 0) continue;
    CHECK(run_now(qcow2::create_snapshot((*disk)->parts(), {.name = name})).has_value());
  }
  CHECK(run_now((*disk)->close()).has_value());
  return file.bytes();
}

uint64_t load(const Bytes& image, size_t offset) {
  Be64 raw;
  std::memcpy(&raw, image.data() + offset, sizeof raw);
  return raw;
}

struct Damage {
  const char* name;
  bool in_table;  // of snapshots; else in the header
  size_t offset;
  size_t width;
  uint64_t value;
  size_t snapshots;  // that are still known
  bool cut;          // there are others
  bool mended;       // by a repair
};
void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }

class OneDamage : public ::testing::TestWithParam<Damage> {
 protected:
  static Bytes damaged(const Bytes& intact) {
    const Damage& damage = GetParam();
    Bytes image = intact;
    const size_t at = damage.offset + (damage.in_table ? load(intact, 64) : 0);
    for (size_t i = 0; i < damage.width; ++i)
      image[at + i] = static_cast<uint8_t>(damage.value >> 8 * (damage.width - 1 - i));
    return image;
  }
  static Bytes contents(const Bytes& image, std::optional<std::string> snapshot = std::nullopt) {
    Qcow2Options how{.read_only = true};
    if (snapshot) how.snapshot = SnapshotChoice{.name = snapshot};
    auto disk = testing::open_qcow2(image, std::move(how));
    EXPECT_TRUE(disk) << disk.error().message();
    if (!disk) return {};
    auto data = testing::read_disk(**disk);
    EXPECT_TRUE(data) << data.error().message();
    return data ? *std::move(data) : Bytes{};
  }
};

TEST_P(OneDamage, KeepsNobodyFromTheRest) {
  const Bytes intact = make_image();
  const Bytes before = contents(intact);
  const Bytes image = damaged(intact);
  EXPECT_EQ(contents(image), before);

  MemoryFile file(image);
  auto header = run_now(qcow2::ImageHeader::read(file));
  ASSERT_TRUE(header) << header.error().message();
  const auto table = run_now(qcow2::read_snapshot_table(file, **header));
  ASSERT_TRUE(table);
  EXPECT_EQ(table->snapshots.size(), GetParam().snapshots);
  EXPECT_EQ(table->cut.empty(), !GetParam().cut);
  const auto found = run_now(qcow2::check_image(file, **header));
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_GE(found->findings.corruptions, 1U);
  EXPECT_EQ(file.bytes(), image);

  const auto repaired = run_now(qcow2::repair_image(file, *header, qcow2::Repair::kAll));
  ASSERT_TRUE(repaired) << repaired.error().message();
  EXPECT_EQ(repaired->findings.corruptions == 0, GetParam().mended);
  EXPECT_EQ(contents(file.bytes()), before);
  if (GetParam().mended) return;
  // Nothing that a snapshot may have was given away: bytes put right again, all of it is there.
  Bytes healed = file.bytes();
  const size_t at = GetParam().offset + (GetParam().in_table ? load(intact, 64) : 0);
  std::copy_n(intact.begin() + static_cast<ptrdiff_t>(at), GetParam().width,
              healed.begin() + static_cast<ptrdiff_t>(at));
  MemoryFile again(healed);
  auto right = run_now(qcow2::ImageHeader::read(again));
  ASSERT_TRUE(right);
  const auto whole = run_now(qcow2::repair_image(again, *right, qcow2::Repair::kAll));
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->findings.corruptions + whole->leaks, 0U);
  for (const char* name : {"one", "two"})
    EXPECT_EQ(contents(again.bytes(), name), contents(intact, name)) << name;
  EXPECT_EQ(contents(again.bytes()), before);
}

constexpr uint64_t kFarOut = uint64_t{1} << 40;

INSTANTIATE_TEST_SUITE_P(
    Fields, OneDamage,
    ::testing::Values(Damage{"l1_offset", true, 0, 8, 0x10200, 2, false, false},
                      Damage{"l1_size", true, 8, 4, 0x10000000, 2, false, false},
                      Damage{"name_length", true, 14, 2, 65535, 1, true, false},
                      Damage{"extra_length", true, 36, 4, 2000, 0, true, false},
                      Damage{"extra_length_huge", true, 36, 4, 0xffffffff, 0, true, false},
                      Damage{"snapshot_count", false, 60, 4, 70000, 0, true, false},
                      Damage{"snapshot_count_past_the_end", false, 60, 4, 60000, 2, true, false},
                      Damage{"snapshots_far_out", false, 64, 8, kFarOut, 0, true, false},
                      Damage{"snapshots_misaligned", false, 64, 8, 0x10001, 0, true, false},
                      Damage{"no_refcount_table", false, 48, 8, 0, 2, false, true},
                      Damage{"refcount_table_misaligned", false, 48, 8, 0x10200, 2, false, true},
                      Damage{"refcount_table_far_out", false, 48, 8, kFarOut, 2, false, true},
                      Damage{"refcount_table_empty", false, 56, 4, 0, 2, false, true},
                      Damage{"refcount_table_huge", false, 56, 4, 0xffffffff, 2, false, true}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace hull::blockcore
