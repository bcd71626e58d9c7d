// What every Disk promises, for each format on each engine and cache mode: many requests in flight
// on a real file, against a model in memory.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "blockcore/file/local_file.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/edit/create.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

enum class Image : uint8_t { kRaw, kQcow2, kOverlay, kTransient };

struct Variant {
  Image image;
  IoEngineKind engine;
  CacheMode cache;
};

constexpr uint64_t kContractBytes = 4 << 20;
constexpr uint64_t kStripes = 16;
constexpr uint64_t kStripeBytes = kContractBytes / kStripes;

class DiskContract : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    auto created = IoEngine::create(GetParam().engine);
    if (!created) GTEST_SKIP() << created.error().message();
    engine_ = *std::move(created);
    create_files();
    options_.cache = GetParam().cache;
    options_.unmap = true;
    auto opened = engine_->run_until_done(open_disk(*engine_, options_));
    if (!opened && opened.error().kind() == ErrorKind::kInvalidConfig)
      GTEST_SKIP() << opened.error().message();  // no O_DIRECT here
    ASSERT_TRUE(opened) << opened.error().message();
    disk_ = *std::move(opened);
  }

  void create_files() {
    const std::string base = directory_ / "base";
    model_.resize(kContractBytes);
    std::mt19937 random(1);
    const bool has_base = GetParam().image != Image::kQcow2;
    if (has_base) {
      for (uint8_t& byte : model_) byte = static_cast<uint8_t>(random());
      const UniqueFd fd = open_file(base, O_RDWR | O_CREAT).value();
      ASSERT_TRUE(write_all(fd.get(), std::as_bytes(std::span(model_))));
    }
    options_.path = base;
    options_.transient = GetParam().image == Image::kTransient;
    if (GetParam().image == Image::kQcow2 || GetParam().image == Image::kOverlay)
      create_overlay(has_base);
  }

  void create_overlay(bool has_base) {
    options_.path = directory_ / "overlay";
    options_.format = DiskFormat::kQcow2;
    const auto file = LocalFile::open(*engine_, options_.path, {.create = true}).value();
    Qcow2CreateOptions format{.size_bytes = kContractBytes};
    if (has_base) {
      format.backing_name = "base";
      format.backing_format = "raw";
    }
    ASSERT_TRUE(engine_->run_until_done(create_qcow2(*file, format)));
  }

  // One request on [offset, offset + length), applied to the model when it succeeded.
  Task<Result<void>> change(uint64_t offset, uint64_t length, uint32_t choice) {
    const auto range = std::span(model_).subspan(offset, length);
    if (choice % 8 == 0) {
      CO_TRY_VOID(co_await disk_->write_zeroes(offset, length, choice % 16 == 0));
      std::fill(range.begin(), range.end(), uint8_t{0});
      co_return {};
    }
    // What a discarded range holds is open until it is written again.
    if (choice % 8 == 1) CO_TRY_VOID(co_await disk_->discard(offset, length));
    std::vector<uint8_t> data(length);
    for (size_t i = 0; i < length; ++i) data[i] = static_cast<uint8_t>(choice * 31 + i * 7);
    const size_t split = length / 3;
    const iovec pieces[] = {{data.data(), split}, {data.data() + split, length - split}};
    CO_TRY_VOID(co_await disk_->write(offset, pieces));
    std::copy(data.begin(), data.end(), range.begin());
    co_return {};
  }

  Task<Result<void>> verify(uint64_t offset, uint64_t length) {
    std::vector<uint8_t> data(length);
    const iovec buffer{data.data(), data.size()};
    CO_TRY_VOID(co_await disk_->read(offset, {&buffer, 1}));
    EXPECT_TRUE(
        std::equal(data.begin(), data.end(), model_.begin() + static_cast<ptrdiff_t>(offset)))
        << "at " << offset << ", " << length << " bytes";
    co_return {};
  }

  // Random requests inside one stripe, one after the other; stripes run side by side.
  Task<void> work_on_stripe(uint64_t stripe, unsigned requests) {
    std::mt19937 random(static_cast<uint32_t>(stripe));
    for (unsigned i = 0; i < requests; ++i) {
      const uint64_t unit = random() % 4 == 0 ? 1 : 512;
      const uint64_t first = random() % (kStripeBytes / unit) * unit;
      const uint64_t length =
          std::min<uint64_t>((1 + random() % (40000 / unit)) * unit, kStripeBytes - first);
      const uint64_t offset = stripe * kStripeBytes + first;
      const uint32_t choice = static_cast<uint32_t>(random());
      const auto done = co_await change(offset, length, choice);
      EXPECT_TRUE(done);
      const auto verified = co_await verify(stripe * kStripeBytes, kStripeBytes);
      EXPECT_TRUE(verified);
      if (choice % 11 == 0) {
        const auto flushed = co_await disk_->flush();
        EXPECT_TRUE(flushed);
      }
    }
    if (++finished_ == kStripes) engine_->stop();
  }

  testing::TemporaryDirectory directory_;
  OpenOptions options_;
  std::vector<uint8_t> model_;
  uint64_t finished_ = 0;
  std::unique_ptr<IoEngine> engine_;
  std::unique_ptr<Disk> disk_;
};

TEST_P(DiskContract, ConcurrentRequestsMatchTheModelAlsoAfterReopening) {
  engine_->post([this] {
    for (uint64_t stripe = 0; stripe < kStripes; ++stripe)
      start_detached(work_on_stripe(stripe, 12));
  });
  engine_->run();
  ASSERT_EQ(finished_, kStripes);
  ASSERT_TRUE(engine_->run_until_done(verify(0, kContractBytes)));
  ASSERT_TRUE(engine_->run_until_done(disk_->close()));
  if (options_.transient) return;
  disk_.reset();
  disk_ = engine_->run_until_done(open_disk(*engine_, options_)).value();
  ASSERT_TRUE(engine_->run_until_done(verify(0, kContractBytes)));
}

TEST_P(DiskContract, EmptyRequestsSucceed) {
  const std::span<const iovec> nothing;
  EXPECT_TRUE(engine_->run_until_done(disk_->read(kContractBytes, nothing)));
  EXPECT_TRUE(engine_->run_until_done(disk_->write(0, nothing)));
  EXPECT_TRUE(engine_->run_until_done(disk_->write_zeroes(0, 0, true)));
  EXPECT_TRUE(engine_->run_until_done(disk_->discard(kContractBytes, 0)));
}

std::vector<Variant> contract_variants() {
  std::vector<Variant> variants;
  for (const Image image : {Image::kRaw, Image::kQcow2, Image::kOverlay, Image::kTransient})
    for (const IoEngineKind engine : {IoEngineKind::kUring, IoEngineKind::kThreads})
      for (const CacheMode cache : {CacheMode::kWriteback, CacheMode::kNone})
        variants.push_back({image, engine, cache});
  return variants;
}

std::string contract_name(const ::testing::TestParamInfo<Variant>& test) {
  constexpr const char* kImages[] = {"raw", "qcow2", "overlay", "transient"};
  return std::string(kImages[static_cast<size_t>(test.param.image)]) +
         (test.param.engine == IoEngineKind::kUring ? "_uring" : "_threads") +
         (test.param.cache == CacheMode::kNone ? "_direct" : "_cached");
}

INSTANTIATE_TEST_SUITE_P(Variants, DiskContract, ::testing::ValuesIn(contract_variants()),
                         contract_name);

}  // namespace
}  // namespace hull::blockcore
