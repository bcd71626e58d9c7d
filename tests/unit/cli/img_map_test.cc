// hull img map beside qemu-img map.
#include "blockcore/file/local_file.h"
#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

class ImgMap : public testing::ImgFixture {
 protected:
  void SetUp() override {
    if (!testing::have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
    ASSERT_EQ(qemu_img("create -q -f qcow2 @base 10M").exit_code, 0);
    ASSERT_EQ(qemu_img("bench -q -w -c 3 -d 1 -S 1048576 -s 65536 @base").exit_code, 0);
    ASSERT_EQ(qemu_img("create -q -f qcow2 -b base -F qcow2 @top 12M").exit_code, 0);
    ASSERT_EQ(qemu_img("bench -q -w -c 2 -d 1 -S 3145728 -s 4096 @top").exit_code, 0);
  }
  void expect_same_map(const std::string& words) {
    expect_same("map " + words);
    expect_same("map --output=json " + words);
  }
};

TEST_F(ImgMap, ChainIsMappedLikeQemu) {
  expect_same_map("@top");
  expect_same_map("-f qcow2 @base");
}

TEST_F(ImgMap, PartIsMappedLikeQemu) {
  expect_same_map("--start-offset=1M --max-length=1M @top");
  expect_same_map("--start-offset=65k @top");
}

TEST_F(ImgMap, RawIsMappedLikeQemu) {
  testing::save_file(directory_ / "raw", testing::Bytes(300000, 1));
  std::filesystem::resize_file(directory_ / "raw", 4 << 20);
  expect_same_map("@raw");
  expect_same_map("-f raw @base");
  expect_same_map("--image-opts driver=qcow2,file.filename=@base");
}

// A running guest has it, which keeps it from others who would write or copy.
TEST_F(ImgMap, RawImageInUseIsLookedAtLikeQemu) {
  const std::string path = directory_ / "raw";
  testing::save_file(path, testing::Bytes(1 << 20, 1));
  const auto engine = blockcore::IoEngine::create().value();
  blockcore::LocalFileOptions how;
  how.lock = {.write = true};
  const auto held = blockcore::LocalFile::open(*engine, path, how).value();
  for (const char* line :
       {"info @raw", "info -f raw @raw", "map -f raw @raw", "map @raw", "check -f raw @raw",
        "measure -f raw -O qcow2 @raw", "dd -f raw if=@raw of=@copy", "resize -f raw @raw 2M",
        "convert -f raw -O raw @raw @other"}) {
    std::filesystem::remove(directory_ / "copy");
    const int ours = hull_img(line).exit_code;
    std::filesystem::remove(directory_ / "copy");
    EXPECT_EQ(ours, qemu_img(line).exit_code) << line;
  }
  // qcow2 has tables, which would be read while they change.
  how.lock->resize = true;
  const auto base = blockcore::LocalFile::open(*engine, directory_ / "base", how).value();
  for (const char* line : {"map @base", "measure -O qcow2 @base"})
    EXPECT_EQ(hull_img(line).exit_code, 1) << line;
}

TEST_F(ImgMap, PreallocatedIsMappedLikeQemu) {
  ASSERT_EQ(qemu_img("create -q -f qcow2 -o preallocation=metadata @pre 10M").exit_code, 0);
  expect_same_map("@pre");
}

TEST_F(ImgMap, ZerosAreMappedLikeQemu) {
  ASSERT_EQ(testing::run_command("qemu-io -f qcow2 -c 'write -z 0 1M' -c 'write -z -u 3M 128k' " +
                                 (directory_ / "base"))
                .exit_code,
            0);
  expect_same_map("@base");
  expect_same_map("@top");
}

TEST_F(ImgMap, CompressedHasNoPlace) {
  ASSERT_EQ(qemu_img("convert -c -O qcow2 @base @packed").exit_code, 0);
  expect_same_map("@packed");
}

TEST_F(ImgMap, MistakesFail) {
  EXPECT_EQ(hull_img("map @nothing").exit_code, 1);
  EXPECT_EQ(hull_img("map -f vmdk @base").exit_code, 1);
  EXPECT_EQ(hull_img("map --output=xml @base").exit_code, 1);
  EXPECT_EQ(hull_img("map --start-offset=x @base").exit_code, 1);
}

}  // namespace
}  // namespace hull::cli
