// New images on a block device that holds something else.
#include <gtest/gtest.h>

#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/edit/resize.h"
#include "tests/support/memory_device.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/qcow2_subject.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::MemoryDevice;
using testing::run_now;

constexpr uint64_t kDeviceBytes = 24 << 20;

struct DeviceCase {
  const char* name;
  Qcow2CreateOptions options;
};
void PrintTo(const DeviceCase& one, std::ostream* out) { *out << one.name; }

class Qcow2OnDevice : public ::testing::TestWithParam<std::tuple<DeviceCase, Preallocation>> {
 protected:
  Qcow2CreateOptions options() const {
    Qcow2CreateOptions options = std::get<0>(GetParam()).options;
    options.preallocation = std::get<1>(GetParam());
    return options;
  }
};

TEST_P(Qcow2OnDevice, NewImageIsSoundAndReadsAsZeros) {
  auto owned = std::make_unique<MemoryDevice>(Bytes(kDeviceBytes, 0xc3));
  MemoryDevice& device = *owned;
  const auto created = run_now(create_qcow2(device, options()));
  ASSERT_TRUE(created) << created.error().message();
  const auto header = run_now(qcow2::ImageHeader::read(device)).value();
  const auto checked = run_now(qcow2::check_image(device, *header)).value();
  EXPECT_EQ(checked.findings.corruptions, 0U) << checked.findings.messages.front();
  EXPECT_EQ(checked.leaks, 0U);
  auto disk = testing::open_qcow2(std::move(owned)).value();
  EXPECT_TRUE(*testing::read_disk(*disk) == Bytes(options().size_bytes));
  // And it can be used to its end, and grow.
  ASSERT_TRUE(testing::write_disk(*disk, options().size_bytes - 1024, Bytes(1024, 0x11)));
  const qcow2::ResizeOptions larger{.size_bytes = options().size_bytes + (1 << 20),
                                    .preallocation = std::get<1>(GetParam())};
  const auto resized = run_now(qcow2::resize(disk->parts(), larger));
  ASSERT_TRUE(resized) << resized.error().message();
  Bytes model(larger.size_bytes);
  std::fill_n(model.begin() + static_cast<ptrdiff_t>(options().size_bytes - 1024), 1024,
              uint8_t{0x11});
  EXPECT_TRUE(*testing::read_disk(*disk) == model);
}

TEST_P(Qcow2OnDevice, DeviceThatIsTooSmallIsRefused) {
  if (std::get<1>(GetParam()) == Preallocation::kOff) return;  // grows as it is used
  Qcow2CreateOptions too_large = options();
  too_large.size_bytes = kDeviceBytes;
  MemoryDevice device(Bytes(kDeviceBytes, 0xc3));
  const auto created = run_now(create_qcow2(device, too_large));
  ASSERT_FALSE(created);
  EXPECT_NE(created.error().message().find("has only"), std::string::npos)
      << created.error().message();
  EXPECT_TRUE(device.bytes() == Bytes(kDeviceBytes, 0xc3)) << "and nothing is written";
}

// After a crash in the midst of a snapshot, say. A device has no end at which anything could be
// added: the new counts go to where nothing is.
TEST(Qcow2OnDeviceAfterCrash, DirtyImageIsCountedAnewInsideTheDevice) {
  auto owned = std::make_unique<MemoryDevice>(Bytes(1 << 20, 0xc3));
  MemoryDevice& device = *owned;
  ASSERT_TRUE(run_now(create_qcow2(device, {.size_bytes = 256 << 10, .cluster_bits = 12})));
  const Bytes data(256 << 10, 0x42);
  {
    auto disk = testing::open_qcow2(std::move(owned)).value();
    ASSERT_TRUE(testing::write_disk(*disk, 0, data));
    ASSERT_TRUE(run_now(disk->close()));
    auto& image = disk->parts().image;
    ASSERT_TRUE(run_now(image.header.set_features(*image.file, qcow2::kIncompatibleDirty, 0)));
    owned = std::make_unique<MemoryDevice>(device.bytes());
  }
  MemoryDevice& again = *owned;
  auto disk = testing::open_qcow2(std::move(owned));
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_FALSE((*disk)->header().dirty());
  EXPECT_TRUE(*testing::read_disk(**disk) == data);
  EXPECT_EQ(testing::trouble_in_image(again.bytes(), true), "");
}

INSTANTIATE_TEST_SUITE_P(
    Geometries, Qcow2OnDevice,
    ::testing::Combine(
        ::testing::Values(DeviceCase{"64k", {.size_bytes = 10 << 20}},
                          DeviceCase{"4k", {.size_bytes = (10 << 20) + 512, .cluster_bits = 12}},
                          DeviceCase{"512", {.size_bytes = 3 << 20, .cluster_bits = 9}},
                          DeviceCase{
                              "extended",
                              {.size_bytes = 5 << 20, .cluster_bits = 14, .extended_l2 = true}}),
        ::testing::Values(Preallocation::kOff, Preallocation::kMetadata, Preallocation::kFalloc,
                          Preallocation::kFull)));

}  // namespace
}  // namespace hull::blockcore
