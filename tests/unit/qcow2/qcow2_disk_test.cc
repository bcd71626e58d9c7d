#include "blockcore/qcow2/qcow2_disk.h"

#include <gtest/gtest.h>

#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::load_file;
using testing::make_qcow2;
using testing::MemoryFile;
using testing::open_qcow2;
using testing::read_disk;
using testing::run_command;
using testing::run_now;
using testing::save_file;
using testing::write_disk;

TEST(Qcow2Disk, NewImageReadsAsZeros) {
  auto disk = open_qcow2(make_qcow2({.size_bytes = 1 << 20}));
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_EQ((*disk)->size_bytes(), 1U << 20);
  EXPECT_EQ(*read_disk(**disk), Bytes(1 << 20));
}

TEST(Qcow2Disk, WrittenDataReadsBackAfterReopen) {
  auto file = std::make_unique<MemoryFile>(make_qcow2({.size_bytes = 1 << 20}));
  MemoryFile& memory = *file;
  auto disk = open_qcow2(std::move(file));
  ASSERT_TRUE(disk);
  const Bytes data(5000, 0x5a);
  ASSERT_TRUE(write_disk(**disk, 65536 - 1000, data));
  EXPECT_EQ(*read_disk(**disk, 65536 - 1000, 5000), data);
  ASSERT_TRUE(run_now((*disk)->close()));
  auto again = open_qcow2(memory.bytes());
  ASSERT_TRUE(again);
  Bytes expected(1 << 20);
  std::fill_n(expected.begin() + 65536 - 1000, 5000, uint8_t{0x5a});
  EXPECT_EQ(*read_disk(**again), expected);
}

}  // namespace
}  // namespace hull::blockcore
