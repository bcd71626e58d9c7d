// Growing and shrinking: what stays is there, what is new is zeros, and a crash at any moment
// leaves one size or the other.
#include "blockcore/qcow2/edit/resize.h"

#include <gtest/gtest.h>

#include <random>

#include "blockcore/qcow2/check/check.h"
#include "tests/support/faulty_file.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::FaultPlan;
using testing::FaultyFile;
using testing::MemoryFile;
using testing::run_now;

void expect_consistent(const Bytes& image, bool leaks_allowed = false) {
  MemoryFile file(image);
  auto header = run_now(qcow2::ImageHeader::read(file));
  ASSERT_TRUE(header) << header.error().message();
  auto checked = run_now(qcow2::check_image(file, **header));
  ASSERT_TRUE(checked) << checked.error().message();
  ASSERT_EQ(checked->findings.corruptions, 0U) << checked->findings.messages.front();
  if (!leaks_allowed) {
    ASSERT_EQ(checked->leaks, 0U) << checked->findings.messages.front();
  }
}

struct ResizeCase {
  const char* name;
  uint32_t version;
  uint32_t cluster_bits;
  uint32_t refcount_order;
  bool backing;
  bool extended = false;
};
void PrintTo(const ResizeCase& one, std::ostream* out) { *out << one.name; }

class Qcow2Resize : public ::testing::TestWithParam<ResizeCase> {
 protected:
  static constexpr uint64_t kBackingBytes = 700 << 10;

  void SetUp() override {
    backing_.resize(GetParam().backing ? kBackingBytes : 0);
    for (uint8_t& byte : backing_) byte = static_cast<uint8_t>(random_() | 1);
  }
  Bytes create(uint64_t size) const {
    const ResizeCase& one = GetParam();
    return testing::make_qcow2({.size_bytes = size,
                                .version = one.version,
                                .cluster_bits = one.cluster_bits,
                                .refcount_order = one.refcount_order,
                                .extended_l2 = one.extended,
                                .backing_name = one.backing ? "base" : "",
                                .backing_format = one.backing ? "raw" : ""});
  }
  std::unique_ptr<Qcow2Disk> open(std::unique_ptr<File> file) const {
    auto disk = testing::open_qcow2(std::move(file));
    if (!disk) return nullptr;
    if (GetParam().backing) {
      auto base = std::make_unique<testing::MemoryDisk>(backing_.size());
      base->bytes = backing_;
      (*disk)->set_backing(std::move(base));
    }
    return *std::move(disk);
  }
  // What a new disk of that size reads as.
  Bytes fresh(uint64_t size) const {
    Bytes model(size);
    std::copy_n(backing_.begin(), std::min<size_t>(size, backing_.size()), model.begin());
    return model;
  }
  void write_somewhere(Qcow2Disk& disk, Bytes& model) {
    if (model.empty()) return;
    const uint64_t at = random_() % model.size();
    Bytes data(std::min<uint64_t>(model.size() - at, 1 + random_() % 9000));
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(random_());
    ASSERT_TRUE(testing::write_disk(disk, at, data));
    std::ranges::copy(data, model.begin() + static_cast<ptrdiff_t>(at));
  }

  std::mt19937 random_{11};
  Bytes backing_;
};

TEST_P(Qcow2Resize, WritesAndResizesInTurnAgreeWithModel) {
  Bytes model = fresh(100 << 10);
  auto file = std::make_unique<MemoryFile>(create(model.size()));
  MemoryFile* memory = file.get();
  auto disk = open(std::move(file));
  ASSERT_NE(disk, nullptr);
  for (unsigned round = 0; round < 40; ++round) {
    SCOPED_TRACE(round);
    for (unsigned i = 0; i < 4; ++i) write_somewhere(*disk, model);
    const uint64_t size = (1 + random_() % 1800) * 512;
    ASSERT_TRUE(run_now(qcow2::resize(disk->parts(), {.size_bytes = size})));
    model.resize(size);
    ASSERT_EQ(disk->size_bytes(), size);
    ASSERT_EQ(*testing::read_disk(*disk), model);
    if (round % 8 == 7) {
      ASSERT_TRUE(run_now(disk->close()));
      expect_consistent(memory->bytes());
      file = std::make_unique<MemoryFile>(memory->bytes());
      memory = file.get();
      disk = open(std::move(file));
      ASSERT_NE(disk, nullptr);
      ASSERT_EQ(*testing::read_disk(*disk), model);
    }
  }
}

TEST_P(Qcow2Resize, CrashLeavesOneSizeOrTheOther) {
  for (const uint64_t target : {uint64_t{3} << 20, uint64_t{30} << 10, uint64_t{900} << 10}) {
    SCOPED_TRACE(target);
    Bytes model = fresh((200 << 10) + 512);
    Bytes image = create(model.size());
    {
      auto file = std::make_unique<MemoryFile>(image);
      MemoryFile& memory = *file;
      auto disk = open(std::move(file));
      ASSERT_NE(disk, nullptr);
      for (unsigned i = 0; i < 20; ++i) write_somewhere(*disk, model);
      ASSERT_TRUE(run_now(disk->close()));
      image = memory.bytes();
    }
    FaultPlan plan;
    auto disk = open(std::make_unique<FaultyFile>(std::make_unique<MemoryFile>(image), plan));
    ASSERT_NE(disk, nullptr);
    ASSERT_TRUE(run_now(qcow2::resize(disk->parts(), {.size_bytes = target})));
    ASSERT_TRUE(run_now(disk->close()));
    for (size_t moment = 0; moment <= plan.log.size(); ++moment) {
      SCOPED_TRACE(moment);
      Bytes left = plan.replay_reordered(image, moment, [&](size_t) { return random_() % 2 == 0; });
      expect_consistent(left, /*leaks_allowed=*/true);
      if (HasFatalFailure()) return;
      const auto after = open(std::make_unique<MemoryFile>(std::move(left)));
      ASSERT_NE(after, nullptr);
      const Bytes data = *testing::read_disk(*after);
      ASSERT_TRUE(data.size() == model.size() || data.size() == target);
      const size_t kept = std::min<size_t>(model.size(), target);
      EXPECT_TRUE(
          std::equal(model.begin(), model.begin() + static_cast<ptrdiff_t>(kept), data.begin()));
      if (data.size() == target) {
        Bytes expected = model;
        expected.resize(target);
        EXPECT_EQ(data, expected);
      }
      if (HasFailure()) return;
    }
  }
}

TEST_P(Qcow2Resize, AnyFailingOperationLeavesValidImage) {
  Bytes model = fresh(200 << 10);
  Bytes image = create(model.size());
  for (unsigned fail_at = 1; fail_at < 80; ++fail_at) {
    SCOPED_TRACE(fail_at);
    FaultPlan plan;
    auto inner = std::make_unique<MemoryFile>(image);
    MemoryFile& memory = *inner;
    auto disk = open(std::make_unique<FaultyFile>(std::move(inner), plan));
    ASSERT_NE(disk, nullptr);
    plan.fail_at = fail_at;
    plan.error = ENOSPC;
    const auto resized = run_now(qcow2::resize(disk->parts(), {.size_bytes = 5 << 20}));
    if (plan.fail_at != 0) return;
    expect_consistent(memory.bytes(), /*leaks_allowed=*/true);
    if (HasFatalFailure()) return;
  }
}

TEST_P(Qcow2Resize, PreallocatedGrowthIsAllocated) {
  const uint64_t target = 900 << 10;
  for (const Preallocation mode :
       {Preallocation::kMetadata, Preallocation::kFalloc, Preallocation::kFull}) {
    Bytes model = fresh(100 << 10);
    auto file = std::make_unique<MemoryFile>(create(model.size()));
    MemoryFile& memory = *file;
    auto disk = open(std::move(file));
    ASSERT_NE(disk, nullptr);
    ASSERT_TRUE(
        run_now(qcow2::resize(disk->parts(), {.size_bytes = target, .preallocation = mode})));
    model.resize(target);
    EXPECT_EQ(*testing::read_disk(*disk), model);
    ASSERT_TRUE(run_now(disk->close()));
    expect_consistent(memory.bytes());
    EXPECT_GE(memory.bytes().size(), target - (100 << 10));
  }
}

INSTANTIATE_TEST_SUITE_P(Images, Qcow2Resize,
                         ::testing::Values(ResizeCase{"v3_512", 3, 9, 4, false},
                                           ResizeCase{"v3_512_backing", 3, 9, 4, true},
                                           ResizeCase{"v3_4k_64bit_backing", 3, 12, 6, true},
                                           ResizeCase{"v2_4k_backing", 2, 12, 4, true},
                                           ResizeCase{"v3_64k_backing", 3, 16, 4, true},
                                           ResizeCase{"v3_16k_extended_backing", 3, 14, 4, true,
                                                      true}));

// Each I/O in turn fails while the L1 table moves; above all the flush of the header that names the
// new table, after which the file may hold either name.
TEST(Qcow2ResizeRules, FailureAnywhereKeepsWhatTheFileMayName) {
  const Bytes data(4096, 0x5a);
  Bytes image = testing::make_qcow2({.size_bytes = 1 << 20, .cluster_bits = 12});
  {
    auto file = std::make_unique<MemoryFile>(image);
    MemoryFile& memory = *file;
    const auto disk = testing::open_qcow2(std::move(file)).value();
    ASSERT_TRUE(testing::write_disk(*disk, 8192, data));
    ASSERT_TRUE(run_now(disk->close()));
    image = memory.bytes();
  }
  bool finished = false;
  for (unsigned at = 1; !finished; ++at) {
    SCOPED_TRACE(at);
    FaultPlan plan;
    auto memory = std::make_unique<MemoryFile>(image);
    MemoryFile& file = *memory;
    const auto disk =
        testing::open_qcow2(std::make_unique<FaultyFile>(std::move(memory), plan)).value();
    plan.fail_at = at;
    finished = run_now(qcow2::resize(disk->parts(), {.size_bytes = uint64_t{2} << 30})).has_value();
    const Bytes left = file.bytes();
    expect_consistent(left, /*leaks_allowed=*/true);
    const auto after = testing::open_qcow2(left);
    ASSERT_TRUE(after) << after.error().message();
    EXPECT_EQ(testing::read_disk(**after, 8192, 4096).value(), data);
  }
}

TEST(Qcow2ResizeRules, UnknownAutoclearBitIsCleared) {
  Bytes image = testing::make_qcow2({.size_bytes = 1 << 20});
  image[88] = 0x80;  // autoclear_features, bit 63
  auto file = std::make_unique<MemoryFile>(image);
  MemoryFile& memory = *file;
  const auto disk = testing::open_qcow2(std::move(file)).value();
  ASSERT_TRUE(run_now(qcow2::resize(disk->parts(), {.size_bytes = 2 << 20})));
  ASSERT_TRUE(run_now(disk->close()));
  EXPECT_EQ(memory.bytes()[88], 0);
}

TEST(Qcow2ResizeRules, VersionTwoWithSnapshotsIsRefused) {
  if (!testing::have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
  const testing::TemporaryDirectory directory;
  const std::string path = directory / "image";
  for (const uint32_t version : {2U, 3U}) {
    testing::save_file(path, testing::make_qcow2({.size_bytes = 1 << 20, .version = version}));
    ASSERT_EQ(testing::run_command("qemu-io -c 'write -P 7 0 1M' " + path).exit_code, 0);
    ASSERT_EQ(testing::run_command("qemu-img snapshot -c s " + path).exit_code, 0);
    auto file = std::make_unique<MemoryFile>(testing::load_file(path));
    MemoryFile& memory = *file;
    auto disk = testing::open_qcow2(std::move(file));
    ASSERT_TRUE(disk);
    const auto resized = run_now(qcow2::resize((*disk)->parts(), {.size_bytes = 128 << 10}));
    EXPECT_EQ(resized.has_value(), version == 3);
    ASSERT_TRUE(run_now((*disk)->close()));
    testing::save_file(path, memory.bytes());
    EXPECT_EQ(testing::run_command("qemu-img check " + path).exit_code, 0);
    // The snapshot is what it was.
    ASSERT_EQ(testing::run_command("qemu-img snapshot -a s " + path).exit_code, 0);
    EXPECT_EQ(testing::run_command("qemu-io -c 'read -P 7 0 1M' " + path).output.find("failed"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace hull::blockcore
