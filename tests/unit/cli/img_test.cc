// hull img against qemu-img on the same files: same words, same JSON, same exit codes.
#include "tools/hull/img.h"

#include <gtest/gtest.h>

#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

using testing::have_qemu_img;

using Img = testing::ImgFixture;

class ImgLikeQemu : public Img, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    if (!have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
  }
};

TEST_P(ImgLikeQemu, CreatedImageIsDescribedAlike) {
  const std::string create = std::string("create ") + GetParam();
  const Outcome ours = hull_img(create);
  ASSERT_EQ(ours.exit_code, 0);
  expect_same("info @x");
  expect_same_json("info --output=json @x");
  expect_same("check @x");
  EXPECT_EQ(ours, qemu_img(create));
}

INSTANTIATE_TEST_SUITE_P(
    Options, ImgLikeQemu,
    ::testing::Values("-f qcow2 @x 10M", "-f qcow2 @x 1.5G",
                      "-f qcow2 -o cluster_size=512,refcount_bits=1 @x 100M",
                      "-f qcow2 -o compat=0.10 @x 64k",
                      "-f qcow2 -o lazy_refcounts=on,cluster_size=2M @x 1T",
                      "-f qcow2 -o preallocation=metadata @x 20M",
                      "-f qcow2 -o preallocation=falloc @x 3M",
                      "-f qcow2 -o preallocation=full,cluster_size=4k @x 3M",
                      "-f qcow2 -o compression_type=zstd @x 1000",
                      "-f qcow2 -o extended_l2=on,preallocation=metadata,cluster_size=16k @x 40M",
                      "-f qcow2 -o size=5M @x", "-f qcow2 @x 0", "@x 3M",
                      "-f raw -o preallocation=full @x 1000000"));

TEST_F(Img, ChainAndSnapshotsAreDescribedLikeQemu) {
  if (!have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
  ASSERT_EQ(hull_img("create -q -f qcow2 @base 64M").exit_code, 0);
  ASSERT_EQ(qemu_img("snapshot -c a-snapshot-with-a-long-name @base").exit_code, 0);
  ASSERT_EQ(hull_img("create -q -f qcow2 -b base -F qcow2 @overlay").exit_code, 0);
  expect_same("info @base");
  expect_same_json("info --output=json @base");
  expect_same("info --backing-chain @overlay");
  expect_same_json("info --backing-chain --output=json @overlay");
  expect_same_json("check --output=json @base");
}

TEST_F(Img, CheckTellsLeaksAndErrorsByItsExitCode) {
  ASSERT_EQ(hull_img("create -q -f qcow2 @x 1M").exit_code, 0);
  testing::Bytes image = testing::load_file(directory_ / "x");
  image[2 * 65536 + 2 * 5 + 1] = 1;  // counts a cluster that nobody uses
  image.resize(6 * 65536);
  testing::save_file(directory_ / "x", image);
  EXPECT_EQ(hull_img("check @x").exit_code, 3);
  image[2 * 65536 + 1] = 0;  // does not count the header
  testing::save_file(directory_ / "x", image);
  EXPECT_EQ(hull_img("check @x").exit_code, 2);
  ASSERT_EQ(hull_img("create -q @raw 1M").exit_code, 0);
  EXPECT_EQ(hull_img("check @raw").exit_code, 63);
  EXPECT_EQ(hull_img("check @nothing").exit_code, 1);
}

TEST_F(Img, RepairSaysWhatQemuSays) {
  if (!have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
  ASSERT_EQ(hull_img("create -q -f qcow2 @x 1M").exit_code, 0);
  testing::Bytes image = testing::load_file(directory_ / "x");
  image.resize(7 * 65536);
  image[2 * 65536 + 2 * 5 + 1] = 1;  // counts a cluster that nobody uses
  for (const char* options : {"-r leaks", "-r all", "-q -r all", "-r leaks --output=json"}) {
    testing::save_file(directory_ / "x", image);
    const Outcome ours = hull_img(std::string("check ") + options + " @x");
    testing::save_file(directory_ / "x", image);
    const Outcome theirs = qemu_img(std::string("check ") + options + " @x");
    EXPECT_EQ(ours.exit_code, theirs.exit_code) << options;
    if (ours.output.starts_with("{"))
      EXPECT_EQ(nlohmann::json::parse(ours.output), nlohmann::json::parse(theirs.output));
    else
      EXPECT_EQ(ours.output, theirs.output) << options;
  }
}

TEST_F(Img, CheckOfChainGivesTheWorstExitCode) {
  ASSERT_EQ(hull_img("create -q -f qcow2 @base 1M").exit_code, 0);
  ASSERT_EQ(hull_img("create -q -f qcow2 -b base -F qcow2 @x").exit_code, 0);
  testing::Bytes image = testing::load_file(directory_ / "base");
  image.resize(7 * 65536);
  image[2 * 65536 + 2 * 5 + 1] = 1;  // counts a cluster that nobody uses
  testing::save_file(directory_ / "base", image);
  EXPECT_EQ(hull_img("check @x").exit_code, 0);
  EXPECT_EQ(hull_img("check --backing-chain @x").exit_code, 3);
}

TEST_F(Img, CreateRefusesBackingWithoutFormat) {
  ASSERT_EQ(hull_img("create -q -f qcow2 @base 1M").exit_code, 0);
  EXPECT_EQ(hull_img("create -f qcow2 -b base @x").exit_code, 1);
  EXPECT_EQ(hull_img("create -f qcow2 -b missing -F raw @x").exit_code, 1);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "x"));
}

TEST_F(Img, BadWordsGiveOneLine) {
  for (const char* line : {"", "frobnicate", "create", "create -f foo @x 1M", "create @x 1Z",
                           "create -f qcow2 -o cluster_size=3000 @x 1M",
                           "create -f qcow2 -o nothing=1 @x 1M", "info", "check --output=xml @x"})
    EXPECT_EQ(hull_img(line).exit_code, 1) << line;
}

TEST_F(Img, HasANameOfItsOwn) {
  std::string version = "--version";
  char* const words[] = {version.data()};
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(img_program(kImgName, words), 0);
  std::fflush(stdout);
  EXPECT_TRUE(::testing::internal::GetCapturedStdout().starts_with("hull-img version "));
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(img_program(kImgName, {}), 1);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "hull-img: Not enough arguments\nTry 'hull-img --help' for more information\n");
}

}  // namespace
}  // namespace hull::cli
