#include "blockcore/qcow2/edit/snapshots.h"

#include <gtest/gtest.h>

#include <random>

#include "blockcore/qcow2/check/check.h"
#include "tests/support/faulty_file.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore::qcow2 {
namespace {

using testing::Bytes;
using testing::FaultPlan;
using testing::FaultyFile;
using testing::MemoryFile;
using testing::open_qcow2;
using testing::read_disk;
using testing::run_command;
using testing::run_now;
using testing::write_disk;

struct Case {
  const char* name;
  uint32_t version;
  uint32_t cluster_bits;
  uint32_t refcount_order;
  bool extended_l2;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

constexpr uint64_t kSize = 300 << 10;

Bytes random_bytes(std::mt19937& random, size_t count) {
  Bytes bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

// An open image, what the disk and its snapshots read as, and random operations on both.
class Subject {
 public:
  explicit Subject(std::unique_ptr<File> file) {
    auto opened = open_qcow2(std::move(file));
    CHECK(opened.has_value());
    disk = *std::move(opened);
    model.assign(disk->size_bytes(), 0);
  }

  Result<void> write_somewhere(std::mt19937& random) {
    const uint64_t offset = random() % model.size();
    const Bytes data =
        random_bytes(random, std::min<uint64_t>(1 + random() % 30000, model.size() - offset));
    std::ranges::copy(data, model.begin() + static_cast<ptrdiff_t>(offset));
    return write_disk(*disk, offset, data);
  }
  Result<void> create(const std::string& name) {
    CHECK(name.size() < 200);
    auto created = run_now(create_snapshot(disk->parts(), {.name = name}));
    if (created) snapshots.push_back(model);
    return created;
  }
  Result<void> apply(size_t index) {
    auto applied = run_now(apply_snapshot(disk->parts(), index));
    if (applied) model = snapshots[index];
    return applied;
  }
  Result<void> remove(size_t index) {
    auto removed = run_now(delete_snapshot(disk->parts(), index));
    if (removed) snapshots.erase(snapshots.begin() + static_cast<ptrdiff_t>(index));
    return removed;
  }
  Result<void> step(std::mt19937& random) {
    const size_t count = snapshots.size();
    switch (random() % 6) {
      case 0: return count < 4 ? create(fmt::format("s{}", random() % 3)) : remove(0);
      case 1: return count != 0 ? apply(random() % count) : create("first");
      case 2: return count > 1 ? remove(random() % count) : write_somewhere(random);
      default: return write_somewhere(random);
    }
  }

  std::unique_ptr<Qcow2Disk> disk;
  Bytes model;
  std::vector<Bytes> snapshots;
};

std::string trouble_in(File& file, uint64_t allowed_leaks = 0) {
  const auto header = run_now(ImageHeader::read(file));
  if (!header) return header.error().message();
  const auto checked = run_now(check_image(file, **header));
  if (!checked) return checked.error().message();
  if (checked->findings.corruptions != 0) return checked->findings.messages.front();
  if (checked->leaks > allowed_leaks) return checked->findings.messages.front();
  return "";
}

class Qcow2Snapshots : public ::testing::TestWithParam<Case> {
 protected:
  static Bytes new_image() {
    return testing::make_qcow2({.size_bytes = kSize,
                                .version = GetParam().version,
                                .cluster_bits = GetParam().cluster_bits,
                                .refcount_order = GetParam().refcount_order,
                                .extended_l2 = GetParam().extended_l2});
  }
};

// Each snapshot of the image reads as its model, as qemu-img sees it.
void ask_qemu(const Bytes& image, const Subject& subject) {
  if (!testing::have_qemu_img()) return;
  const testing::TemporaryDirectory directory;
  const std::string file = directory / "image";
  testing::save_file(file, image);
  const auto check = run_command("qemu-img check " + file);
  EXPECT_EQ(check.exit_code, 0) << check.output;
  for (size_t i = 0; i < subject.snapshots.size(); ++i) {
    testing::save_file(directory / "model", subject.snapshots[i]);
    const auto list = run_now(list_snapshots(subject.disk->parts()));
    ASSERT_TRUE(list);
    const auto applied = run_command("qemu-img snapshot -a " + (*list)[i].id + " " + file);
    EXPECT_EQ(applied.exit_code, 0) << applied.output;
    const auto same =
        run_command("qemu-img compare -f qcow2 -F raw " + file + " " + (directory / "model"));
    EXPECT_EQ(same.exit_code, 0) << same.output;
  }
  const auto after = run_command("qemu-img check " + file);
  EXPECT_EQ(after.exit_code, 0) << after.output;
}

TEST_P(Qcow2Snapshots, RandomOperationsMatchModel) {
  std::mt19937 random(5);
  Bytes image = new_image();
  auto memory = std::make_unique<MemoryFile>(image);
  MemoryFile& file = *memory;
  Subject subject(std::move(memory));
  for (unsigned i = 0; i < 60; ++i) {
    SCOPED_TRACE(i);
    const auto done = subject.step(random);
    ASSERT_TRUE(done) << done.error().message();
    if (i % 5 != 0) continue;
    ASSERT_EQ(*read_disk(*subject.disk), subject.model);
    ASSERT_TRUE(run_now(subject.disk->flush()));
    MemoryFile copy(file.bytes());
    ASSERT_EQ(trouble_in(copy, ~uint64_t{0}), "");
  }
  for (size_t i = 0; i < subject.snapshots.size(); ++i) {
    ASSERT_TRUE(subject.apply(i));
    ASSERT_EQ(*read_disk(*subject.disk), subject.snapshots[i]);
  }
  ASSERT_TRUE(run_now(subject.disk->close()));
  EXPECT_EQ(trouble_in(file), "");
  ask_qemu(file.bytes(), subject);
  while (!subject.snapshots.empty()) ASSERT_TRUE(subject.remove(0));
  ASSERT_TRUE(run_now(subject.disk->close()));
  EXPECT_EQ(trouble_in(file), "");
}

// What is left after a crash: opens, reads as before or after the operation, and stays so when the
// disk is written to.
void check_survivor(const Bytes& image, const Subject& before, const Subject& after) {
  auto memory = std::make_unique<MemoryFile>(image);
  MemoryFile& file = *memory;
  auto opened = open_qcow2(std::move(memory));
  ASSERT_TRUE(opened) << opened.error().message();
  Qcow2Disk& disk = **opened;
  const Bytes now = *read_disk(disk);
  const auto list = *run_now(list_snapshots(disk.parts()));
  const bool is_old = list.size() == before.snapshots.size();
  ASSERT_TRUE(is_old || list.size() == after.snapshots.size());
  ASSERT_TRUE(now == before.model || now == after.model);
  const std::vector<Bytes>& expected = is_old ? before.snapshots : after.snapshots;
  // Nothing that a snapshot has may be written in place.
  ASSERT_TRUE(write_disk(disk, 0, Bytes(kSize, 0xaa)));
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto applied = run_now(apply_snapshot(disk.parts(), i));
    ASSERT_TRUE(applied) << applied.error().message();
    ASSERT_EQ(*read_disk(disk), expected[i]);
  }
  ASSERT_TRUE(run_now(disk.close()));
  ASSERT_EQ(trouble_in(file, ~uint64_t{0}), "");
}

enum class Operation : uint8_t { kCreate, kApply, kDelete };

Result<void> perform(Subject& subject, Operation operation) {
  if (operation == Operation::kCreate) return subject.create("new");
  return operation == Operation::kApply ? subject.apply(0) : subject.remove(0);
}

// Two snapshots and an active disk that shares some clusters with them.
void prepare(Subject& subject) {
  std::mt19937 random(3);
  for (unsigned i = 0; i < 12; ++i) {
    CHECK(subject.write_somewhere(random).has_value());
    if (i % 5 == 4) CHECK(subject.create("s").has_value());
  }
  CHECK(run_now(subject.disk->close()).has_value());
}

TEST_P(Qcow2Snapshots, CrashAtAnyMomentLosesNothing) {
  for (const Operation operation : {Operation::kCreate, Operation::kApply, Operation::kDelete}) {
    SCOPED_TRACE(static_cast<int>(operation));
    FaultPlan plan;
    auto memory = std::make_unique<MemoryFile>(new_image());
    MemoryFile& file = *memory;
    Subject subject(std::make_unique<FaultyFile>(std::move(memory), plan));
    prepare(subject);
    const Bytes image = file.bytes();
    const Subject before{[&] {
      Subject copy(std::make_unique<MemoryFile>(image));
      copy.model = subject.model;
      copy.snapshots = subject.snapshots;
      return copy;
    }()};
    plan.log.clear();
    ASSERT_TRUE(perform(subject, operation));
    std::mt19937 random(1);
    for (size_t crash = 0; crash <= plan.log.size(); ++crash) {
      SCOPED_TRACE(crash);
      check_survivor(plan.replay(image, crash), before, subject);
      check_survivor(plan.replay_reordered(image, crash, [&](size_t) { return random() % 2; }),
                     before, subject);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Qcow2Snapshots, AnyFailingOperationLosesNothing) {
  for (const Operation operation : {Operation::kCreate, Operation::kApply, Operation::kDelete})
    for (unsigned fail_at = 1;; ++fail_at) {
      SCOPED_TRACE(static_cast<int>(operation) * 1000 + static_cast<int>(fail_at));
      FaultPlan plan;
      auto memory = std::make_unique<MemoryFile>(new_image());
      MemoryFile& file = *memory;
      Subject subject(std::make_unique<FaultyFile>(std::move(memory), plan));
      prepare(subject);
      const Bytes model = subject.model;
      plan.fail_at = fail_at;
      const bool done = perform(subject, operation).has_value();
      const bool failed = plan.fail_at == 0;
      plan.fail_at = 0;
      const Bytes now = *read_disk(*subject.disk);
      ASSERT_TRUE(now == subject.model || now == model || !done);
      ASSERT_TRUE(write_disk(*subject.disk, 1000, Bytes(kSize / 2, 0xbb)));
      (void)run_now(subject.disk->close());
      auto again = open_qcow2(file.bytes());
      ASSERT_TRUE(again) << again.error().message();
      const auto list = *run_now(list_snapshots((*again)->parts()));
      for (size_t i = 0; list.size() == subject.snapshots.size() && i < list.size(); ++i) {
        ASSERT_TRUE(run_now(apply_snapshot((*again)->parts(), i)));
        ASSERT_EQ(*read_disk(**again), subject.snapshots[i]);
      }
      if (!failed) break;
    }
}

INSTANTIATE_TEST_SUITE_P(
    Images, Qcow2Snapshots,
    ::testing::Values(Case{"v3_512", 3, 9, 4, false}, Case{"v3_512_64bit", 3, 9, 6, false},
                      Case{"v3_4k_4bit", 3, 12, 2, false}, Case{"v3_16k_extended", 3, 14, 4, true},
                      Case{"v3_64k", 3, 16, 4, false}, Case{"v2_4k", 2, 12, 4, false}));

}  // namespace
}  // namespace hull::blockcore::qcow2
