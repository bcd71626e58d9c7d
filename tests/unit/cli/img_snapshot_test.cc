// hull img snapshot beside qemu-img snapshot.
#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

class ImgSnapshot : public testing::ImgFixture {
 protected:
  void SetUp() override {
    if (!testing::have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
    ASSERT_EQ(qemu_img("create -q -f qcow2 @disk 10M").exit_code, 0);
    write("0x11 0 3M");
  }
  void write(const std::string& pattern) {
    const auto done = testing::run_command("qemu-io -f qcow2 -c 'write -P " + pattern + "' " +
                                           (directory_ / "disk"));
    ASSERT_EQ(done.exit_code, 0) << done.output;
  }
  bool reads(const std::string& pattern) {
    const auto done = testing::run_command("qemu-io -f qcow2 -c 'read -P " + pattern + "' " +
                                           (directory_ / "disk"));
    return done.output.find("Pattern verification failed") == std::string::npos;
  }
  void expect_sound() {
    const Outcome check = qemu_img("check @disk");
    EXPECT_EQ(check.exit_code, 0) << check.output;
  }
};

TEST_F(ImgSnapshot, OursAreListedAndAppliedByQemu) {
  EXPECT_EQ(hull_img("snapshot -c one @disk").exit_code, 0);
  expect_sound();
  write("0x22 1M 4M");
  EXPECT_EQ(hull_img("snapshot -c two @disk").exit_code, 0);
  write("0x33 0 1M");
  expect_sound();
  expect_same("snapshot -l @disk");
  expect_same("info @disk");
  expect_same_json("info --output=json @disk");
  EXPECT_EQ(qemu_img("snapshot -a one @disk").exit_code, 0);
  EXPECT_TRUE(reads("0x11 0 3M"));
  EXPECT_EQ(qemu_img("snapshot -d two @disk").exit_code, 0);
  expect_sound();
}

TEST_F(ImgSnapshot, TheirsAreAppliedAndDeleted) {
  EXPECT_EQ(qemu_img("snapshot -c one @disk").exit_code, 0);
  write("0x22 0 4M");
  EXPECT_EQ(qemu_img("snapshot -c two @disk").exit_code, 0);
  EXPECT_EQ(hull_img("snapshot -a 1 @disk").exit_code, 0);
  EXPECT_TRUE(reads("0x11 0 3M"));
  EXPECT_TRUE(reads("0 3M 1M"));
  expect_sound();
  EXPECT_EQ(hull_img("snapshot -d one @disk").exit_code, 0);
  expect_sound();
  EXPECT_EQ(hull_img("snapshot -a two @disk").exit_code, 0);
  EXPECT_TRUE(reads("0x22 0 4M"));
  EXPECT_EQ(hull_img("snapshot -d two @disk").exit_code, 0);
  expect_sound();
  expect_same("snapshot -l @disk");
}

TEST_F(ImgSnapshot, OtherSizeIsRestored) {
  EXPECT_EQ(qemu_img("snapshot -c small @disk").exit_code, 0);
  EXPECT_EQ(qemu_img("resize -q @disk 9G").exit_code, 0);
  EXPECT_EQ(hull_img("snapshot -c large @disk").exit_code, 0);
  EXPECT_EQ(hull_img("snapshot -a small @disk").exit_code, 0);
  EXPECT_NE(hull_img("info @disk").output.find("10 MiB"), std::string::npos);
  expect_sound();
  EXPECT_EQ(hull_img("snapshot -a large @disk").exit_code, 0);
  EXPECT_NE(hull_img("info @disk").output.find("9 GiB"), std::string::npos);
  expect_sound();
}

TEST_F(ImgSnapshot, CompressedClustersAreShared) {
  ASSERT_EQ(qemu_img("convert -c -O qcow2 @disk @packed").exit_code, 0);
  EXPECT_EQ(hull_img("snapshot -c one @packed").exit_code, 0);
  EXPECT_EQ(qemu_img("check @packed").exit_code, 0);
  EXPECT_EQ(hull_img("snapshot -a one @packed").exit_code, 0);
  EXPECT_EQ(hull_img("snapshot -d one @packed").exit_code, 0);
  EXPECT_EQ(qemu_img("check @packed").exit_code, 0);
  EXPECT_EQ(qemu_img("compare @disk @packed").exit_code, 0);
}

TEST_F(ImgSnapshot, MistakesAreThoseOfQemu) {
  testing::save_file(directory_ / "raw", testing::Bytes(65536));
  for (const char* words :
       {"snapshot -a nothing @disk", "snapshot -d nothing @disk", "snapshot -d 1 @disk",
        "snapshot -l -c x @disk", "snapshot @disk", "snapshot", "snapshot -l @nothing",
        "snapshot -l @raw", "snapshot -c x @raw", "snapshot -a x @raw", "snapshot -d x @raw"})
    expect_same(words);
}

TEST_F(ImgSnapshot, FullRefcountRefusesAndKeepsTheImage) {
  ASSERT_EQ(qemu_img("create -q -f qcow2 -o refcount_bits=1 @disk 10M").exit_code, 0);
  write("0x11 0 1M");
  expect_same("snapshot -c one @disk");
  expect_same("snapshot -l @disk");
  EXPECT_TRUE(reads("0x11 0 1M"));
}

}  // namespace
}  // namespace hull::cli
