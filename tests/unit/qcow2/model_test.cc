// Random traces over many geometries against a flat model, with qemu-img as second opinion on some.
// HULL_LONG_TESTS=N runs N times as many; the seed in a failure's trace makes the same one again.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/qcow2_subject.h"
#include "tests/support/sanitizers.h"

namespace hull::blockcore {
namespace {

using testing::Qcow2Subject;
using testing::SubjectGeometry;

// Traces over a small image: thousands in all.
constexpr unsigned kMost = testing::kSanitizerFactor == 1 ? 180 : 60;

unsigned long_factor() {
  const char* const value = std::getenv("HULL_LONG_TESTS");
  return value == nullptr ? 1 : static_cast<unsigned>(std::max(1, std::atoi(value)));
}

class Qcow2Model : public ::testing::TestWithParam<SubjectGeometry> {};

// A guest's operations with changes of the image as a whole in between.
std::string run_trace(Qcow2Subject& subject, std::mt19937& random, std::string& history) {
  const std::vector<std::string> names = subject.names();
  for (unsigned round = 0; round < 6; ++round) {
    std::string trouble = subject.trace(10, 1 + round * 2);
    history += " trace";
    if (trouble.empty()) trouble = subject.verify();
    if (!trouble.empty()) return trouble;
    const std::string& name = names[random() % names.size()];
    history += " " + name;
    trouble = subject.change(name);
    if (trouble.empty()) trouble = subject.verify();
    if (!trouble.empty()) return trouble;
  }
  std::string trouble = subject.close();
  return trouble.empty() ? subject.verify_snapshots() : trouble;
}

TEST_P(Qcow2Model, RandomTraceMatchesModel) {
  // Small images are many; to open an encrypted one takes long.
  const unsigned wanted =
      GetParam().encrypted ? 2 : kMost / (1 + static_cast<unsigned>(GetParam().size_bytes >> 18));
  const unsigned count = std::max(1U, wanted / testing::kSanitizerFactor) * long_factor();
  for (unsigned seed = 1; seed <= count; ++seed) {
    std::mt19937 random(seed);
    std::string history;
    Qcow2Subject subject(GetParam(), random);
    const std::string trouble = run_trace(subject, random, history);
    ASSERT_EQ(trouble, "") << "seed " << seed << ":" << history;
    if (seed % 50 != 1) continue;
    ASSERT_EQ(subject.ask_qemu(), "") << "seed " << seed << ":" << history;
  }
}

TEST_P(Qcow2Model, SnapshotsBesideRequestsMatchModel) {
  if (GetParam().data_file != SubjectGeometry::DataFile::kNone) return;
  const unsigned wanted =
      GetParam().encrypted ? 2
                           : kMost / 3 / (1 + static_cast<unsigned>(GetParam().size_bytes >> 18));
  const unsigned count = std::max(1U, wanted / testing::kSanitizerFactor) * long_factor();
  for (unsigned seed = 1; seed <= count; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Qcow2Subject subject(GetParam(), random);
    ASSERT_EQ(subject.trace(10, 4), "");
    for (unsigned round = 0; round < 6; ++round) {
      SCOPED_TRACE(round);
      const char* const name =
          subject.state().snapshots.size() > random() % 3 ? "delete_snapshot" : "create_snapshot";
      ASSERT_EQ(subject.trace_beside(name, 24, 1 + round * 2), "") << name;
      ASSERT_EQ(subject.verify(), "") << name;
    }
    ASSERT_EQ(subject.close(), "");
    ASSERT_EQ(subject.verify_snapshots(), "");
    if (seed % 50 == 1) {
      ASSERT_EQ(subject.ask_qemu(), "");
    }
  }
}

TEST_P(Qcow2Model, StreamingBesideRequestsMatchesModel) {
  if (GetParam().backing == SubjectGeometry::Backing::kNone) return;
  const unsigned count = std::max(1U, (GetParam().encrypted ? 2 : 12) / testing::kSanitizerFactor);
  for (unsigned seed = 1; seed <= count * long_factor(); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Qcow2Subject subject(GetParam(), random);
    ASSERT_EQ(subject.trace(10, 4), "");
    ASSERT_EQ(subject.trace_beside("stream", 40, 1 + seed % 6), "");
    ASSERT_EQ(subject.verify(), "");
    ASSERT_EQ(subject.trace(10, 4), "");
    ASSERT_EQ(subject.verify(), "");
    // Without its base.
    ASSERT_EQ(subject.reopen(), "");
    ASSERT_EQ(subject.verify(), "");
    ASSERT_EQ(subject.close(), "");
    if (seed % 50 == 1) {
      ASSERT_EQ(subject.ask_qemu(), "");
    }
  }
}

using Backing = SubjectGeometry::Backing;
using DataFile = SubjectGeometry::DataFile;

INSTANTIATE_TEST_SUITE_P(
    Geometries, Qcow2Model,
    ::testing::Values(
        SubjectGeometry{.name = "512", .cluster_bits = 9, .size_bytes = 200 << 10},
        SubjectGeometry{.name = "512 64 bit on raw",
                        .cluster_bits = 9,
                        .refcount_order = 6,
                        .size_bytes = (128 << 10) + 512,
                        .backing = Backing::kRaw},
        SubjectGeometry{
            .name = "512 1 bit", .cluster_bits = 9, .refcount_order = 0, .size_bytes = 300 << 10},
        SubjectGeometry{.name = "1k 32 bit on qcow2",
                        .cluster_bits = 10,
                        .refcount_order = 5,
                        .size_bytes = 200 << 10,
                        .backing = Backing::kQcow2,
                        .zstd = true},
        SubjectGeometry{.name = "4k 2 bit on raw",
                        .cluster_bits = 12,
                        .refcount_order = 1,
                        .size_bytes = 400 << 10,
                        .backing = Backing::kRaw},
        SubjectGeometry{.name = "4k 4 bit",
                        .cluster_bits = 12,
                        .refcount_order = 2,
                        .size_bytes = (500 << 10) - 512},
        SubjectGeometry{.name = "4k lazy on qcow2",
                        .cluster_bits = 12,
                        .size_bytes = 500 << 10,
                        .backing = Backing::kQcow2,
                        .lazy_refcounts = true},
        SubjectGeometry{.name = "64k", .size_bytes = 1 << 20, .zstd = true},
        SubjectGeometry{
            .name = "64k on raw", .size_bytes = (1 << 20) + 512 * 7, .backing = Backing::kRaw},
        SubjectGeometry{.name = "64k 8 bit on qcow2",
                        .refcount_order = 3,
                        .size_bytes = 1 << 20,
                        .backing = Backing::kQcow2},
        SubjectGeometry{.name = "2M on raw",
                        .cluster_bits = 21,
                        .size_bytes = 5 << 20,
                        .backing = Backing::kRaw},
        SubjectGeometry{.name = "v2 512 on raw",
                        .version = 2,
                        .cluster_bits = 9,
                        .size_bytes = 200 << 10,
                        .backing = Backing::kRaw},
        SubjectGeometry{.name = "v2 4k", .version = 2, .cluster_bits = 12, .size_bytes = 400 << 10},
        SubjectGeometry{.name = "v2 64k on qcow2",
                        .version = 2,
                        .size_bytes = 1 << 20,
                        .backing = Backing::kQcow2},
        SubjectGeometry{.name = "extended 16k on raw",
                        .cluster_bits = 14,
                        .size_bytes = 500 << 10,
                        .backing = Backing::kRaw,
                        .extended_l2 = true},
        SubjectGeometry{.name = "extended 16k 1 bit",
                        .cluster_bits = 14,
                        .refcount_order = 0,
                        .size_bytes = (500 << 10) - 512,
                        .extended_l2 = true,
                        .zstd = true},
        SubjectGeometry{.name = "extended 64k on qcow2",
                        .size_bytes = (1 << 20) + 512 * 7,
                        .backing = Backing::kQcow2,
                        .extended_l2 = true,
                        .lazy_refcounts = true},
        SubjectGeometry{.name = "data file",
                        .cluster_bits = 12,
                        .size_bytes = 400 << 10,
                        .data_file = DataFile::kPlain},
        SubjectGeometry{.name = "data file on raw",
                        .cluster_bits = 12,
                        .size_bytes = 400 << 10,
                        .backing = Backing::kRaw,
                        .data_file = DataFile::kPlain},
        SubjectGeometry{.name = "raw data file",
                        .cluster_bits = 12,
                        .size_bytes = 400 << 10,
                        .data_file = DataFile::kRaw},
        SubjectGeometry{.name = "extended data file on raw",
                        .cluster_bits = 14,
                        .size_bytes = 500 << 10,
                        .backing = Backing::kRaw,
                        .extended_l2 = true,
                        .data_file = DataFile::kPlain},
        SubjectGeometry{.name = "encrypted 4k on raw",
                        .cluster_bits = 12,
                        .size_bytes = 400 << 10,
                        .backing = Backing::kRaw,
                        .encrypted = true},
        SubjectGeometry{.name = "encrypted extended",
                        .cluster_bits = 14,
                        .size_bytes = 400 << 10,
                        .extended_l2 = true,
                        .encrypted = true}));

}  // namespace
}  // namespace hull::blockcore
