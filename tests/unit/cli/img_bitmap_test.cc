// hull img bitmap beside qemu-img bitmap.
#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

class ImgBitmap : public testing::ImgFixture {
 protected:
  void SetUp() override {
    if (!testing::have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
    ASSERT_EQ(qemu_img("create -q -f qcow2 @disk 10M").exit_code, 0);
  }
  void expect_success(const std::string& words) {
    EXPECT_EQ(hull_img(words).exit_code, 0) << words;
  }
  void expect_same_info(const std::string& disk) {
    expect_same("info @" + disk);
    expect_same_json("info --output=json @" + disk);
    const Outcome check = qemu_img("check @" + disk);
    EXPECT_EQ(check.exit_code, 0) << check.output;
    EXPECT_EQ(hull_img("check @" + disk).exit_code, 0);
  }
};

TEST_F(ImgBitmap, OursAreReadByQemu) {
  expect_success("bitmap --add @disk one");
  expect_success("bitmap --add -g 4k --disable @disk two");
  expect_same_info("disk");
  EXPECT_EQ(qemu_img("bench -q -w -f qcow2 -c 3 -d 1 -S 1048576 -s 65536 @disk").exit_code, 0);
  expect_same_info("disk");
  expect_success("bitmap --merge one --enable @disk two");
  expect_same_info("disk");
  EXPECT_EQ(qemu_img("bitmap --clear --remove @disk one").exit_code, 0);
  expect_same_info("disk");
}

TEST_F(ImgBitmap, DiskOfNothingHasNone) {
  ASSERT_EQ(qemu_img("create -q -f qcow2 @nothing 0").exit_code, 0);
  EXPECT_EQ(hull_img("bitmap --add @nothing one").exit_code, 1);
  expect_same("info @nothing");
}

TEST_F(ImgBitmap, TheirsAreChanged) {
  EXPECT_EQ(qemu_img("bitmap --add @disk one").exit_code, 0);
  EXPECT_EQ(qemu_img("bitmap --add -g 32k @disk two").exit_code, 0);
  EXPECT_EQ(qemu_img("bench -q -w -f qcow2 -c 3 -d 1 -S 1048576 -s 65536 @disk").exit_code, 0);
  expect_success("bitmap --disable @disk one");
  expect_success("bitmap --clear @disk two");
  expect_same_info("disk");
  expect_success("bitmap --remove @disk one");
  expect_success("bitmap --remove @disk two");
  expect_same_info("disk");
}

TEST_F(ImgBitmap, MergeFromAnotherImage) {
  ASSERT_EQ(qemu_img("create -q -f qcow2 @other 10M").exit_code, 0);
  ASSERT_EQ(qemu_img("create -q -f qcow2 @small 5M").exit_code, 0);
  expect_success("bitmap --add @other from");
  expect_success("bitmap --add @small from");
  expect_success("bitmap --add @disk to");
  expect_success("bitmap --merge from -b @other -F qcow2 @disk to");
  expect_same("bitmap --merge from -b @small -F qcow2 @disk to");
  expect_same_info("disk");
}

TEST_F(ImgBitmap, MistakesAreThoseOfQemu) {
  expect_success("bitmap --add @disk one");
  testing::save_file(directory_ / "raw", testing::Bytes(65536));
  ASSERT_EQ(qemu_img("create -q -f qcow2 -o compat=0.10 @old 10M").exit_code, 0);
  for (const char* words :
       {"bitmap --add @disk one", "bitmap --add -g 1000 @disk two", "bitmap --add -g 256 @disk two",
        "bitmap --add -g 4G @disk two", "bitmap --remove @disk two", "bitmap --clear @disk two",
        "bitmap --merge two @disk one", "bitmap --merge one @disk two", "bitmap @disk one",
        "bitmap --clear @disk", "bitmap -g 4k --clear @disk one",
        "bitmap -b @old --clear @disk one", "bitmap -F qcow2 --clear @disk one",
        "bitmap --merge one -b @disk @disk one", "bitmap --add -f raw @raw one",
        "bitmap --add @old one", "bitmap --add @nothing one"})
    expect_same(words);
  expect_same_info("disk");
}

}  // namespace
}  // namespace hull::cli
