// Images whose guest data is in a file of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "blockcore/image/check.h"
#include "blockcore/image/create.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/edit/resize.h"
#include "tests/support/disk_trace.h"
#include "tests/support/faulty_file.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/qcow2_subject.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::MemoryFile;
using testing::run_now;
using testing::TemporaryDirectory;

constexpr uint64_t kSize = (1 << 20) + 512 * 3;

struct Variant {
  const char* name;
  bool raw;
  bool backing;
  bool extended_l2;
};
void PrintTo(const Variant& one, std::ostream* out) { *out << one.name; }

Qcow2CreateOptions format_of(const Variant& variant) {
  Qcow2CreateOptions options{.size_bytes = kSize,
                             .cluster_bits = variant.extended_l2 ? 14U : 12U,
                             .extended_l2 = variant.extended_l2};
  options.data_file_name = "data";
  options.data_file_raw = variant.raw;
  if (variant.backing) {
    options.backing_name = "base";
    options.backing_format = "raw";
  }
  return options;
}

class Qcow2DataFile : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    MemoryFile image;
    MemoryFile data;
    ASSERT_TRUE(run_now(create_qcow2(image, format_of(GetParam()), &data)));
    image_ = image.bytes();
    data_ = data.bytes();
    backing_.resize(GetParam().backing ? kSize / 2 + 100 : 0);
    for (uint8_t& byte : backing_) byte = static_cast<uint8_t>(random_());
    model_.resize(kSize);
    std::ranges::copy(backing_, model_.begin());
  }
  // Opening reads at once; later operations complete in any order.
  void open() {
    auto image = std::make_unique<MemoryFile>(image_);
    image_file_ = image.get();
    auto data = std::make_unique<MemoryFile>(data_);
    data_file_ = data.get();
    std::optional<Result<std::unique_ptr<Qcow2Disk>>> opened;
    start_detached([](std::unique_ptr<File> file, auto& out) -> Task<void> {
      out.emplace(co_await Qcow2Disk::open(std::move(file),
                                           {.l2_cache_bytes = 8192, .allow_data_file = true}));
    }(std::make_unique<testing::ShuffledFile>(std::move(image), queue_), opened));
    while (!queue_.empty()) queue_.resume(0);
    ASSERT_TRUE(opened.has_value() && opened->has_value());
    disk_ = *std::move(*opened);
    disk_->set_data_file(std::make_unique<testing::ShuffledFile>(std::move(data), queue_));
    if (!GetParam().backing) return;
    auto base = std::make_unique<testing::MemoryDisk>(backing_.size());
    base->bytes = backing_;
    disk_->set_backing(std::move(base));
  }
  void close() {
    bool closed = false;
    start_detached([](Disk& disk, bool& out) -> Task<void> {
      out = (co_await disk.close()).has_value();
    }(*disk_, closed));
    while (!queue_.empty()) queue_.resume(0);
    ASSERT_TRUE(closed);
    image_ = image_file_->bytes();
    data_ = data_file_->bytes();
  }
  void ask_qemu() {
    if (!testing::have_qemu_img()) return;
    const TemporaryDirectory directory;
    testing::save_file(directory / "image", image_);
    testing::save_file(directory / "data", data_);
    testing::save_file(directory / "base", backing_);
    testing::save_file(directory / "model", model_);
    const auto asked = testing::run_command(
        "cd " + directory.path() +
        " && qemu-img check -f qcow2 image && qemu-img compare -f qcow2 -F raw image model");
    EXPECT_EQ(asked.exit_code, 0) << asked.output;
  }

  std::mt19937 random_{5};
  testing::ShuffleQueue queue_;
  Bytes image_;
  Bytes data_;
  Bytes backing_;
  Bytes model_;
  MemoryFile* image_file_ = nullptr;
  MemoryFile* data_file_ = nullptr;
  std::unique_ptr<Qcow2Disk> disk_;
};

TEST_P(Qcow2DataFile, RandomTraceMatchesModel) {
  for (unsigned round = 0; round < 4; ++round) {
    SCOPED_TRACE(round);
    open();
    testing::DiskTrace trace(*disk_, model_, queue_, random_);
    ASSERT_EQ(trace.verify(), "");
    ASSERT_EQ(trace.run(60, 1 + round * 4), "");
    ASSERT_EQ(trace.verify(), "");
    close();
    if (GetParam().raw) {
      data_.resize(kSize);
      ASSERT_EQ(data_, model_);
    }
  }
  ask_qemu();
}

// Left behind by a crash in the midst of shrinking, or by another program.
TEST_P(Qcow2DataFile, WhatTheDataFileHasPastTheEndOfTheDiskDoesNotShow) {
  const Bytes image = image_;
  for (const auto preallocation : {Preallocation::kOff, Preallocation::kMetadata}) {
    image_ = image;
    data_.resize(2 * kSize, 0xee);
    std::fill(data_.begin() + kSize, data_.end(), uint8_t{0xee});
    open();
    const qcow2::ResizeOptions options{.size_bytes = 2 * kSize, .preallocation = preallocation};
    const auto resized = testing::run_queue(queue_, qcow2::resize(disk_->parts(), options));
    ASSERT_TRUE(resized) << resized.error().message();
    model_.resize(2 * kSize);
    EXPECT_EQ(testing::DiskTrace(*disk_, model_, queue_, random_).verify(), "");
    close();
    EXPECT_EQ(data_.size(), 2 * kSize);
    EXPECT_TRUE(!GetParam().raw || data_ == model_);
    ask_qemu();
  }
}

// Growing makes the data file longer if need be, and never shorter.
TEST_P(Qcow2DataFile, GrowingKeepsWhatTheDataFileHasBehindTheDisk) {
  const Bytes image = image_;
  for (const auto preallocation : {Preallocation::kOff, Preallocation::kMetadata}) {
    image_ = image;
    data_.resize(3 * kSize);
    std::fill(data_.begin() + 2 * kSize, data_.end(), uint8_t{0xee});
    open();
    const qcow2::ResizeOptions options{.size_bytes = 2 * kSize, .preallocation = preallocation};
    const auto resized = testing::run_queue(queue_, qcow2::resize(disk_->parts(), options));
    ASSERT_TRUE(resized) << resized.error().message();
    close();
    ASSERT_EQ(data_.size(), 3 * kSize);
    EXPECT_TRUE(Bytes(data_.begin() + 2 * kSize, data_.end()) == Bytes(kSize, 0xee));
  }
}

TEST_P(Qcow2DataFile, TheRawBitSurvivesWrites) {
  open();
  testing::DiskTrace trace(*disk_, model_, queue_, random_);
  ASSERT_EQ(trace.run(10, 2), "");
  close();
  MemoryFile file(image_);
  EXPECT_EQ((*run_now(qcow2::ImageHeader::read(file)))->data_file_is_raw(), GetParam().raw);
}

INSTANTIATE_TEST_SUITE_P(Variants, Qcow2DataFile,
                         ::testing::Values(Variant{"plain", false, false, false},
                                           Variant{"raw", true, false, false},
                                           Variant{"backing", false, true, false},
                                           Variant{"extended", false, false, true},
                                           Variant{"extended raw", true, false, true},
                                           Variant{"extended backing", false, true, true}),
                         [](const auto& test) {
                           std::string name = test.param.name;
                           std::ranges::replace(name, ' ', '_');
                           return name;
                         });

TEST(Qcow2DataFileOrder, DataIsDurableBeforeTheMapping) {
  MemoryFile image;
  MemoryFile data;
  ASSERT_TRUE(run_now(create_qcow2(image, format_of({"", false, false, false}), &data)));
  testing::FaultPlan image_plan;
  testing::FaultPlan data_plan;
  auto disk = testing::open_qcow2(std::make_unique<testing::FaultyFile>(
                                      std::make_unique<MemoryFile>(image.bytes()), image_plan),
                                  {.allow_data_file = true});
  ASSERT_TRUE(disk);
  (*disk)->set_data_file(
      std::make_unique<testing::FaultyFile>(std::make_unique<MemoryFile>(data.bytes()), data_plan));
  ASSERT_TRUE(testing::write_disk(**disk, 4096, Bytes(4096, 0x55)));
  image_plan.log.clear();
  data_plan.fail_at = 1;  // the flush of the data
  EXPECT_FALSE(run_now((*disk)->flush()));
  // Counts may have been written, the table that maps the data has not.
  const Bytes mapped = image_plan.replay(image.bytes(), image_plan.log.size());
  auto before =
      testing::open_qcow2(std::make_unique<MemoryFile>(mapped), {.allow_data_file = true});
  ASSERT_TRUE(before);
  (*before)->set_data_file(std::make_unique<MemoryFile>(Bytes(kSize, 0xff)));
  EXPECT_EQ(*testing::read_disk(**before, 4096, 4096), Bytes(4096));
}

// On real files, through the factory.
class Qcow2DataFileOpen : public ::testing::Test {
 protected:
  Result<uint64_t> create(const std::string& data_name) {
    CreateImageOptions options;
    options.path = directory_ / "image";
    options.format = DiskFormat::kQcow2;
    options.size_bytes = kSize;
    options.qcow2.data_file_name = data_name;
    return engine_->run_until_done(create_image(*engine_, options));
  }
  Result<std::unique_ptr<Disk>> open(bool read_only = false) {
    return engine_->run_until_done(open_disk(
        *engine_,
        {.path = directory_ / "image", .format = DiskFormat::kQcow2, .read_only = read_only}));
  }
  // The image keeps its name, the file behind it goes or changes.
  void rename_in_header(const std::string& from, const std::string& to) {
    Bytes image = testing::load_file(directory_ / "image");
    const auto found = std::ranges::search(image, from);
    ASSERT_FALSE(found.empty());
    std::ranges::copy(to, found.begin());
    testing::save_file(directory_ / "image", image);
  }

  TemporaryDirectory directory_;
  std::unique_ptr<IoEngine> engine_ = IoEngine::create(IoEngineKind::kThreads).value();
};

TEST_F(Qcow2DataFileOpen, NameIsRelativeToTheImage) {
  ASSERT_TRUE(create("guest"));
  auto disk = open();
  ASSERT_TRUE(disk) << disk.error().message();
  Bytes data(512, 0x77);
  const iovec buffer{data.data(), data.size()};
  ASSERT_TRUE(engine_->run_until_done((*disk)->write(8192, {&buffer, 1})));
  ASSERT_TRUE(engine_->run_until_done((*disk)->close()));
  const Bytes guest = testing::load_file(directory_ / "guest");
  EXPECT_EQ(guest.size(), kSize);
  EXPECT_EQ(guest[8192], 0x77);
}

TEST_F(Qcow2DataFileOpen, ProtocolsAreRefused) {
  EXPECT_EQ(create("nbd:host").error().kind(), ErrorKind::kUnsupported);
  ASSERT_TRUE(create("guestfile"));
  rename_in_header("guestfile", "json:{}ab");
  const auto disk = open();
  ASSERT_FALSE(disk);
  EXPECT_EQ(disk.error().kind(), ErrorKind::kUnsupported);
}

TEST_F(Qcow2DataFileOpen, MissingFileIsAnErrorThatNamesIt) {
  ASSERT_TRUE(create("guest"));
  rename_in_header("guest", "gone!");
  const auto disk = open();
  ASSERT_FALSE(disk);
  EXPECT_NE(disk.error().message().find("gone!"), std::string::npos);
}

TEST_F(Qcow2DataFileOpen, TheImageItselfIsRefused) {
  EXPECT_EQ(create("image").error().kind(), ErrorKind::kInvalidConfig);
  ASSERT_TRUE(create("guest"));
  rename_in_header("guest", "image");
  EXPECT_EQ(open().error().kind(), ErrorKind::kInvalidConfig);
}

TEST_F(Qcow2DataFileOpen, CheckDoesNotOpenIt) {
  ASSERT_TRUE(create("guest"));
  rename_in_header("guest", "gone!");
  const auto file = LocalFile::open(*engine_, directory_ / "image", {.read_only = true}).value();
  const auto checked = engine_->run_until_done(check_image_file(*file, DiskFormat::kQcow2));
  ASSERT_TRUE(checked) << checked.error().message();
  EXPECT_EQ(checked->findings.corruptions, 0U);
  EXPECT_EQ(checked->leaks, 0U);
}

TEST_F(Qcow2DataFileOpen, ItIsLockedAsTheImageIs) {
  ASSERT_TRUE(create("guest"));
  auto disk = open();
  ASSERT_TRUE(disk);
  const auto second = engine_->run_until_done(
      open_disk(*engine_, {.path = directory_ / "guest", .read_only = true}));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind(), ErrorKind::kBusy);
  ASSERT_TRUE(engine_->run_until_done((*disk)->close()));
}

TEST_F(Qcow2DataFileOpen, ImageOfQemuReadsAlike) {
  if (!testing::have_qemu_img()) GTEST_SKIP() << "no qemu-img";
  const auto made = testing::run_command(
      "cd " + directory_.path() +
      " && qemu-img create -q -f qcow2 -o data_file=guest image 1M && " +
      "qemu-img bench -w -c 20 -s 3072 -S 40960 -d 1 --pattern=90 -f qcow2 image && " +
      "qemu-img convert -O raw image expected");
  ASSERT_EQ(made.exit_code, 0) << made.output;
  auto disk = open(true);
  ASSERT_TRUE(disk) << disk.error().message();
  Bytes data(1 << 20);
  const iovec buffer{data.data(), data.size()};
  ASSERT_TRUE(engine_->run_until_done((*disk)->read(0, {&buffer, 1})));
  EXPECT_EQ(data, testing::load_file(directory_ / "expected"));
}

}  // namespace
}  // namespace hull::blockcore
