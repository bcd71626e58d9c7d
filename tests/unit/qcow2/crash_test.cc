// A host crash at any moment, a failing write at any moment: the image opens, has leaks at most,
// and holds everything that was flushed.
#include <gtest/gtest.h>

#include <cstdlib>

#include "blockcore/qcow2/check/check.h"
#include "tests/support/disk_trace.h"
#include "tests/support/faulty_file.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/sanitizers.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::DiskTrace;
using testing::FaultPlan;
using testing::FaultyFile;
using testing::MemoryFile;
using testing::run_now;
using testing::ShuffledFile;
using testing::ShuffleQueue;

struct CrashCase {
  const char* name;
  uint32_t version;
  uint32_t cluster_bits;
  uint32_t refcount_order;
  bool backing;
  bool extended_l2 = false;
  bool encrypted = false;
};
void PrintTo(const CrashCase& one, std::ostream* out) { *out << one.name; }

constexpr uint64_t kSize = 600 << 10;
// Sanitizers are slow: they look at some of the moments.
constexpr unsigned kEveryMoment = testing::kSanitizerFactor == 1 ? 1 : 4;

unsigned long_factor() {
  const char* const value = std::getenv("HULL_LONG_TESTS");
  return value == nullptr ? 1 : static_cast<unsigned>(std::max(1, std::atoi(value)));
}

class Qcow2Crash : public ::testing::TestWithParam<CrashCase> {
 protected:
  void SetUp() override {
    Qcow2CreateOptions options{.size_bytes = kSize,
                               .version = GetParam().version,
                               .cluster_bits = GetParam().cluster_bits,
                               .refcount_order = GetParam().refcount_order,
                               .extended_l2 = GetParam().extended_l2};
    model_.assign(kSize, 0);
    if (GetParam().encrypted) {
      secret_ = std::make_shared<const Secret>(Secret::zeros(8).value());
      options.encryption =
          Qcow2Encryption{.luks = {.iteration_milliseconds = 1}, .secret = secret_};
    }
    if (GetParam().backing) {
      options.backing_name = "base";
      options.backing_format = "raw";
      backing_.resize(kSize / 2 + 300);
      for (uint8_t& byte : backing_) byte = static_cast<uint8_t>(random_());
      std::ranges::copy(backing_, model_.begin());
    }
    image_ = testing::make_qcow2(options);
  }

  std::unique_ptr<Qcow2Disk> open(std::unique_ptr<File> file) {
    std::optional<Result<std::unique_ptr<Qcow2Disk>>> disk;
    Qcow2Options how{.l2_cache_bytes = 8192, .refcount_cache_bytes = 4096, .secret = secret_};
    start_detached([](std::unique_ptr<File> opened, Qcow2Options options, auto& out) -> Task<void> {
      out.emplace(co_await Qcow2Disk::open(std::move(opened), std::move(options)));
    }(std::move(file), std::move(how), disk));
    while (!queue_.empty()) queue_.resume(0);
    if (!disk || !*disk) return nullptr;
    if (GetParam().backing) {
      auto base = std::make_unique<testing::MemoryDisk>(backing_.size());
      base->bytes = backing_;
      (**disk)->set_backing(std::move(base));
    }
    return std::move(**disk);
  }

  // What a flushed moment must still read as: bytes that were not touched since.
  struct Flushed {
    size_t log_size;
    Bytes model;
  };

  // Opens what is left after a crash. `lower` and `upper` are the models of the last flush before
  // it and of the next one: bytes that are the same in both must be there.
  void check_survivor(Bytes image, const Bytes& flushed, const Bytes& later);

  std::mt19937 random_{1};
  ShuffleQueue queue_;
  std::shared_ptr<const Secret> secret_;
  Bytes image_;
  Bytes backing_;
  Bytes model_;
};

void Qcow2Crash::check_survivor(Bytes image, const Bytes& flushed, const Bytes& touched) {
  MemoryFile file(image);
  auto header = run_now(qcow2::ImageHeader::read(file));
  ASSERT_TRUE(header) << header.error().message();
  auto checked = run_now(qcow2::check_image(file, **header));
  ASSERT_TRUE(checked) << checked.error().message();
  ASSERT_EQ(checked->findings.corruptions, 0U) << checked->findings.messages.front();
  const auto disk = open(std::make_unique<MemoryFile>(std::move(image)));
  ASSERT_NE(disk, nullptr);
  const auto data = testing::read_disk(*disk);
  ASSERT_TRUE(data) << data.error().message();
  for (size_t i = 0; i < kSize; ++i)
    if (touched[i] == 0) {
      ASSERT_EQ((*data)[i], flushed[i]) << "byte " << i;
    }
}

TEST_P(Qcow2Crash, AnyMomentLeavesLeaksAtMost) {
  for (unsigned seed = 1; seed <= long_factor(); ++seed) {
    SCOPED_TRACE(seed);
    random_.seed(seed);
    FaultPlan plan;
    auto disk = open(std::make_unique<ShuffledFile>(
        std::make_unique<FaultyFile>(std::make_unique<MemoryFile>(image_), plan), queue_));
    ASSERT_NE(disk, nullptr);
    Bytes model = model_;
    std::vector<Flushed> flushed{{0, model}};
    DiskTrace trace(*disk, model, queue_, random_);
    // After each round everything is flushed, so that the model of that moment is known.
    std::vector<Bytes> touched;
    for (unsigned round = 0; round < 6; ++round) {
      ASSERT_EQ(trace.run(12, 6), "");
      touched.push_back(trace.take_touched());
      bool done = false;
      start_detached([](Disk& target, bool& out) -> Task<void> {
        out = (co_await target.flush()).has_value();
      }(*disk, done));
      while (!queue_.empty()) queue_.resume(0);
      ASSERT_TRUE(done);
      flushed.push_back({plan.log.size(), model});
    }
    // The moment before each flush, when most is still on its way, and some in between.
    std::vector<size_t> moments;
    for (size_t i = 0; i < plan.log.size(); ++i)
      if ((plan.log[i].kind == FaultPlan::Kind::kFlush || random_() % 16 == 0) &&
          random_() % kEveryMoment == 0)
        moments.push_back(i);
    moments.push_back(plan.log.size());
    for (const size_t crash : moments) {
      SCOPED_TRACE(crash);
      size_t round = 0;
      while (round + 1 < flushed.size() && flushed[round + 1].log_size <= crash) ++round;
      const Bytes nothing(kSize);
      const Bytes& since = round < touched.size() ? touched[round] : nothing;
      check_survivor(plan.replay(image_, crash), flushed[round].model, since);
      if (HasFatalFailure()) return;
      for (unsigned subset = 0; subset < 2; ++subset) {
        SCOPED_TRACE(subset);
        check_survivor(plan.replay_reordered(image_, crash, [&](size_t) { return random_() % 2; }),
                       flushed[round].model, since);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Qcow2Crash, AnyFailingOperationLeavesValidImage) {
  unsigned stepwise = 1;
  for (unsigned fail_at = 1; fail_at < 400; fail_at += stepwise) {
    SCOPED_TRACE(fail_at);
    random_.seed(7);
    FaultPlan plan;
    auto inner = std::make_unique<MemoryFile>(image_);
    MemoryFile& memory = *inner;
    auto disk = open(std::make_unique<ShuffledFile>(
        std::make_unique<FaultyFile>(std::move(inner), plan), queue_));
    ASSERT_NE(disk, nullptr);
    plan.fail_at = fail_at;
    plan.error = fail_at % 2 == 0 ? ENOSPC : EIO;
    plan.torn_bytes = fail_at % 3 * 700;
    Bytes model = model_;
    DiskTrace trace(*disk, model, queue_, random_);
    trace.allow_failures();
    ASSERT_EQ(trace.run(60, 5), "");
    ASSERT_EQ(trace.verify(), "");
    const bool failed = plan.fail_at == 0;
    bool closed = false;
    start_detached([](Disk& target, bool& out) -> Task<void> {
      out = (co_await target.close()).has_value();
    }(*disk, closed));
    while (!queue_.empty()) queue_.resume(0);
    auto header = run_now(qcow2::ImageHeader::read(memory));
    ASSERT_TRUE(header);
    auto checked = run_now(qcow2::check_image(memory, **header));
    ASSERT_TRUE(checked);
    ASSERT_EQ(checked->findings.corruptions, 0U) << checked->findings.messages.front();
    if (closed) {
      // Then everything that was acknowledged is in the file.
      const auto again = open(std::make_unique<MemoryFile>(memory.bytes()));
      ASSERT_NE(again, nullptr);
      ASSERT_EQ(*testing::read_disk(*again), model);
    }
    if (!failed) break;
    if (fail_at > 40) stepwise = 9;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Images, Qcow2Crash,
    ::testing::Values(
        CrashCase{"v3_512", 3, 9, 4, false}, CrashCase{"v3_512_64bit_backing", 3, 9, 6, true},
        CrashCase{"v3_4k_backing", 3, 12, 4, true}, CrashCase{"v3_64k", 3, 16, 4, false},
        CrashCase{"v3_64k_backing", 3, 16, 4, true}, CrashCase{"v2_4k_backing", 2, 12, 4, true},
        CrashCase{"v3_16k_extended", 3, 14, 4, false, true},
        CrashCase{"v3_64k_extended_backing", 3, 16, 4, true, true},
        CrashCase{"luks_4k", 3, 12, 4, false, false, true},
        CrashCase{"luks_64k", 3, 16, 4, false, false, true},
        CrashCase{"luks_16k_extended_backing", 3, 14, 4, true, true, true}));

// What a power failure may leave when only the write of the L2 table has arrived.
TEST(Qcow2EncryptedCrash, SectorsThatNobodyWroteReadAsZeros) {
  const auto secret = std::make_shared<const Secret>(Secret::zeros(8).value());
  Qcow2CreateOptions options{.size_bytes = 8 << 20};
  options.encryption = Qcow2Encryption{.luks = {.iteration_milliseconds = 1}, .secret = secret};
  const Bytes image = testing::make_qcow2(options);
  FaultPlan plan;
  auto disk = testing::open_qcow2(
      std::make_unique<FaultyFile>(std::make_unique<MemoryFile>(image), plan), {.secret = secret});
  ASSERT_TRUE(disk) << disk.error().message();
  for (const uint64_t offset : {uint64_t{0}, uint64_t{65536}}) {
    ASSERT_TRUE(testing::write_disk(**disk, offset, Bytes(4096, 0x5a)));
    ASSERT_TRUE(run_now((*disk)->flush()));
  }
  for (size_t crash = 0; crash <= plan.log.size(); ++crash)
    for (size_t lost = 0; lost < crash; ++lost) {
      if (plan.log[lost].kind == FaultPlan::Kind::kFlush) continue;
      SCOPED_TRACE(fmt::format("{} of {} operations, without {}", crash, plan.log.size(), lost));
      const auto left = testing::open_qcow2(
          plan.replay_reordered(image, crash, [&](size_t i) { return i != lost; }),
          {.read_only = true, .secret = secret});
      ASSERT_TRUE(left) << left.error().message();
      const auto data = testing::read_disk(**left, 65536, 65536);
      ASSERT_TRUE(data) << data.error().message();
      const Bytes rest(data->begin() + 4096, data->end());
      ASSERT_EQ(rest, Bytes(rest.size()));
    }
}

}  // namespace
}  // namespace hull::blockcore
