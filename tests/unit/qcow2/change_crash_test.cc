// Changes of an image as a whole (snapshots, resizing, commit, rebase, amend, bitmaps): after a
// host crash at any moment of one, and after a failure of any of its operations, the image opens
// and is what it was before or what it was to become. HULL_LONG_TESTS=N runs N times as many.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/qcow2_subject.h"
#include "tests/support/sanitizers.h"

namespace hull::blockcore {
namespace {

using testing::FaultPlan;
using testing::kSubjectFiles;
using testing::Qcow2Subject;
using testing::SubjectFiles;
using testing::SubjectGeometry;
using testing::SubjectState;
using Backing = SubjectGeometry::Backing;
using DataFile = SubjectGeometry::DataFile;

unsigned rounds(unsigned count) {
  const char* const value = std::getenv("HULL_LONG_TESTS");
  const unsigned factor =
      value == nullptr ? 1 : static_cast<unsigned>(std::max(1, std::atoi(value)));
  return std::max(1U, count / testing::kSanitizerFactor) * factor;
}

// How far apart the operations lie that fail: slow ones leave some out.
unsigned fault_step(const SubjectGeometry& geometry) {
  if (geometry.encrypted) return 30;
  return testing::kSanitizerFactor == 1 ? 1 : 5;
}

class Qcow2Change : public ::testing::TestWithParam<SubjectGeometry> {
 protected:
  // Crashes within what `plan` has recorded since `start`.
  std::string crash(const FaultPlan& plan, const SubjectFiles& start, const SubjectState& before,
                    const SubjectState& after);
  void fail_everywhere(unsigned seed, const std::string& name);
  void fail_beside(const std::string& name);
  std::mt19937 random_{1};
};

std::string Qcow2Change::crash(const FaultPlan& plan, const SubjectFiles& start,
                               const SubjectState& before, const SubjectState& after) {
  const size_t most = GetParam().encrypted ? 3 : 14;
  for (size_t i = 0; i <= plan.log.size(); ++i) {
    const bool boundary = i == plan.log.size() || plan.log[i].kind == FaultPlan::Kind::kFlush;
    const size_t chance = boundary ? 2 * plan.log.size() / most / 3 : 3 * plan.log.size() / most;
    if (random_() % (chance + 1) != 0) continue;
    for (const bool torn : {false, true}) {
      SubjectFiles files = start;
      for (unsigned file = 0; file < kSubjectFiles; ++file)
        files[file] = torn ? plan.replay_torn(std::move(files[file]), i, random_, file)
                           : plan.replay(std::move(files[file]), i, file);
      const std::string trouble = judge_survivor(GetParam(), files, before, after);
      if (!trouble.empty())
        return fmt::format("{} (crash before operation {} of {}{})", trouble, i, plan.log.size(),
                           torn ? ", torn" : "");
    }
  }
  return "";
}

TEST_P(Qcow2Change, CrashLeavesTheOldOrTheNew) {
  const unsigned count = rounds(GetParam().encrypted ? 1 : 4);
  for (unsigned seed = 1; seed <= count; ++seed) {
    random_.seed(seed);
    FaultPlan plan;
    Qcow2Subject subject(GetParam(), random_, &plan);
    std::string history;
    const std::vector<std::string> names = subject.names();
    for (unsigned round = 0; round < 8; ++round) {
      const std::string& name = names[random_() % names.size()];
      SCOPED_TRACE(fmt::format("seed {}:{} {}", seed, history, name));
      ASSERT_EQ(subject.trace(6, 4), "");
      ASSERT_EQ(subject.flush(), "");
      const SubjectFiles start = subject.current_files();
      const SubjectState before = subject.state();
      plan.log.clear();
      ASSERT_EQ(subject.change(name), "");
      ASSERT_EQ(crash(plan, start, before, subject.state()), "");
      history += " " + name;
    }
  }
}

TEST_P(Qcow2Change, CrashBesideRequestsLeavesTheOldOrTheNew) {
  if (GetParam().data_file != SubjectGeometry::DataFile::kNone) return;
  const unsigned count = rounds(GetParam().size_bytes > 500 << 10 || GetParam().encrypted ? 1 : 3);
  for (unsigned seed = 1; seed <= count; ++seed) {
    random_.seed(seed);
    FaultPlan plan;
    Qcow2Subject subject(GetParam(), random_, &plan);
    for (unsigned round = 0; round < 6; ++round) {
      const char* const name =
          subject.state().snapshots.size() > random_() % 3 ? "delete_snapshot" : "create_snapshot";
      SCOPED_TRACE(fmt::format("seed {}, {} {}", seed, round, name));
      ASSERT_EQ(subject.trace(6, 4), "");
      ASSERT_EQ(subject.flush(), "");
      const SubjectFiles start = subject.current_files();
      const SubjectState before = subject.state();
      plan.log.clear();
      ASSERT_EQ(subject.trace_beside(name, 16, 5), "");
      ASSERT_EQ(crash(plan, start, before, subject.wanted()), "");
    }
  }
}

TEST_P(Qcow2Change, CrashWhileStreamingChangesNothing) {
  if (GetParam().backing == Backing::kNone) return;
  for (unsigned seed = 1; seed <= rounds(GetParam().encrypted ? 1 : 2); ++seed) {
    SCOPED_TRACE(seed);
    random_.seed(seed);
    FaultPlan plan;
    Qcow2Subject subject(GetParam(), random_, &plan);
    ASSERT_EQ(subject.trace(6, 4), "");
    ASSERT_EQ(subject.flush(), "");
    const SubjectFiles start = subject.current_files();
    const SubjectState before = subject.state();
    plan.log.clear();
    ASSERT_EQ(subject.trace_beside("stream", 16, 5), "");
    ASSERT_EQ(crash(plan, start, before, subject.wanted()), "");
  }
}

// A request or the operation beside it fails, all of them in turn. Later ones work.
void Qcow2Change::fail_beside(const std::string& name) {
  const unsigned step = fault_step(GetParam());
  for (const bool read : {false, true}) {
    bool hit = true;
    for (unsigned fail_at = 1; hit; fail_at += step + fail_at / 8) {
      SCOPED_TRACE(fmt::format("{}: {} {}", name, read ? "read" : "change", fail_at));
      random_.seed(3);
      FaultPlan plan;
      Qcow2Subject subject(GetParam(), random_, &plan);
      ASSERT_EQ(subject.trace(8, 4), "");
      if (name != "stream") {
        ASSERT_EQ(subject.change("create_snapshot"), "");
      }
      ASSERT_EQ(subject.trace(8, 4), "");
      ASSERT_EQ(subject.flush(), "");
      const SubjectState before = subject.state();
      (read ? plan.fail_read_at : plan.fail_at) = fail_at;
      plan.error = fail_at % 2 == 0 ? ENOSPC : EIO;
      subject.allow_failures();
      ASSERT_EQ(subject.trace_beside(name, 16, 5), "");
      hit = plan.fail_at + plan.fail_read_at == 0;
      plan.fail_at = plan.fail_read_at = 0;
      ASSERT_EQ(subject.verify(), "");
      ASSERT_EQ(judge_survivor(GetParam(), subject.current_files(), before, subject.wanted()), "");
      // The fault is gone.
      ASSERT_EQ(subject.trace(8, 4), "");
      ASSERT_FALSE(subject.failed());
      ASSERT_EQ(subject.verify(), "");
    }
  }
}

TEST_P(Qcow2Change, FailureBesideRequestsLeavesTheOldOrTheNewAndGoesOn) {
  if (GetParam().data_file == SubjectGeometry::DataFile::kNone) {
    fail_beside("create_snapshot");
    fail_beside("delete_snapshot");
  }
  if (GetParam().backing != Backing::kNone) fail_beside("stream");
}

// Something that the change can work on.
void prepare(Qcow2Subject& subject, const std::string& name) {
  ASSERT_EQ(subject.trace(8, 4), "");
  if (name == "bitmaps") {
    ASSERT_EQ(subject.change("bitmaps"), "");
  }
  if (name.ends_with("snapshot")) {
    ASSERT_EQ(subject.change("create_snapshot"), "");
  }
  ASSERT_EQ(subject.trace(8, 4), "");
}

// Each operation in turn, later ones in steps.
void Qcow2Change::fail_everywhere(unsigned seed, const std::string& name) {
  // What is to come of it.
  random_.seed(seed);
  Qcow2Subject sound(GetParam(), random_);
  prepare(sound, name);
  ASSERT_EQ(sound.flush(), "");
  ASSERT_EQ(sound.change(name), "");
  const unsigned step = fault_step(GetParam());
  for (const bool read : {false, true}) {
    bool hit = true;
    for (unsigned fail_at = 1; hit; fail_at += step + fail_at / 16) {
      SCOPED_TRACE(fmt::format("{} {}", read ? "read" : "change", fail_at));
      random_.seed(seed);
      FaultPlan plan;
      Qcow2Subject subject(GetParam(), random_, &plan);
      prepare(subject, name);
      ASSERT_EQ(subject.flush(), "");
      const SubjectState before = subject.state();
      (read ? plan.fail_read_at : plan.fail_at) = fail_at;
      plan.error = fail_at % 2 == 0 ? ENOSPC : EIO;
      plan.torn_bytes = fail_at % 5 * 512;
      subject.allow_failures();
      ASSERT_EQ(subject.change(name), "");
      hit = plan.fail_at + plan.fail_read_at == 0;
      ASSERT_EQ(judge_survivor(GetParam(), subject.abandon(), before, sound.state()), "");
    }
  }
}

TEST_P(Qcow2Change, FailureLeavesTheOldOrTheNew) {
  for (unsigned seed = 1; seed <= rounds(1); ++seed) {
    const std::vector<std::string> names = [&] {
      Qcow2Subject subject(GetParam(), random_);
      std::vector<std::string> unique = subject.names();
      unique.erase(std::ranges::unique(unique).begin(), unique.end());
      return unique;
    }();
    for (const std::string& name : names) {
      SCOPED_TRACE(fmt::format("seed {}: {}", seed, name));
      fail_everywhere(seed, name);
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Geometries, Qcow2Change,
    ::testing::Values(
        SubjectGeometry{.name = "512", .cluster_bits = 9, .size_bytes = 100 << 10},
        SubjectGeometry{.name = "1k 64 bit on qcow2",
                        .cluster_bits = 10,
                        .refcount_order = 6,
                        .size_bytes = 100 << 10,
                        .backing = Backing::kQcow2},
        SubjectGeometry{.name = "4k on raw",
                        .cluster_bits = 12,
                        .size_bytes = 200 << 10,
                        .backing = Backing::kRaw,
                        .lazy_refcounts = true},
        SubjectGeometry{.name = "64k", .size_bytes = 600 << 10},
        SubjectGeometry{.name = "v2 4k on raw",
                        .version = 2,
                        .cluster_bits = 12,
                        .size_bytes = 200 << 10,
                        .backing = Backing::kRaw},
        SubjectGeometry{.name = "v2 512", .version = 2, .cluster_bits = 9, .size_bytes = 100 << 10},
        SubjectGeometry{.name = "extended 16k on qcow2",
                        .cluster_bits = 14,
                        .size_bytes = 300 << 10,
                        .backing = Backing::kQcow2,
                        .extended_l2 = true},
        SubjectGeometry{.name = "data file on raw",
                        .cluster_bits = 12,
                        .size_bytes = 200 << 10,
                        .backing = Backing::kRaw,
                        .data_file = DataFile::kPlain},
        SubjectGeometry{.name = "raw data file",
                        .cluster_bits = 12,
                        .size_bytes = 200 << 10,
                        .data_file = DataFile::kRaw},
        SubjectGeometry{.name = "encrypted 4k",
                        .cluster_bits = 12,
                        .size_bytes = 200 << 10,
                        .backing = Backing::kRaw,
                        .encrypted = true}));

}  // namespace
}  // namespace hull::blockcore
