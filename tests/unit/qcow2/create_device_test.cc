// New images on a block device that holds something else.
#include <gtest/gtest.h>

#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/edit/resize.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::MemoryFile;
using testing::run_now;

constexpr uint64_t kDeviceBytes = 24 << 20;

class Device : public MemoryFile {
 public:
  explicit Device(Bytes bytes) : MemoryFile(std::move(bytes), "device", kDeviceBytes) {}
  bool is_block_device() const override { return true; }
  Result<void> cut_to(uint64_t) override {
    return fail(ErrorKind::kUnsupported, "the size of a device is fixed");
  }
};

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
  auto owned = std::make_unique<Device>(Bytes(kDeviceBytes, 0xc3));
  Device& device = *owned;
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
  Device device(Bytes(kDeviceBytes, 0xc3));
  const auto created = run_now(create_qcow2(device, too_large));
  ASSERT_FALSE(created);
  EXPECT_NE(created.error().message().find("has only"), std::string::npos)
      << created.error().message();
  EXPECT_TRUE(device.bytes() == Bytes(kDeviceBytes, 0xc3)) << "and nothing is written";
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
