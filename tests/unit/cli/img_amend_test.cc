// hull img amend beside qemu-img amend.
#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

class ImgAmend : public testing::ImgFixture {
 protected:
  void SetUp() override {
    if (!testing::have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
    for (const char* disk : {"ours", "theirs"}) {
      ASSERT_EQ(qemu_img(std::string("create -q -f qcow2 @") + disk + " 10M").exit_code, 0);
      const auto done =
          testing::run_command("qemu-io -f qcow2 -c 'write -P 17 0 3M' " + (directory_ / disk));
      ASSERT_EQ(done.exit_code, 0) << done.output;
    }
  }
  // The same options for both images, one by hull and one by qemu-img.
  void expect_same_amendment(const std::string& options) {
    SCOPED_TRACE(options);
    const Outcome ours = hull_img("amend -o " + options + " @ours");
    const Outcome theirs = qemu_img("amend -o " + options + " @theirs");
    EXPECT_EQ(ours.exit_code, theirs.exit_code);
    EXPECT_EQ(facts("ours"), facts("theirs"));
    const Outcome check = qemu_img("check @ours");
    EXPECT_EQ(check.exit_code, 0) << check.output;
    EXPECT_EQ(qemu_img("compare @ours @theirs").exit_code, 0);
  }
  nlohmann::json facts(const std::string& disk) {
    const auto info = nlohmann::json::parse(qemu_img("info --output=json @" + disk).output);
    return {info["format-specific"], info["virtual-size"]};
  }
};

TEST_F(ImgAmend, FeaturesBecomeThoseThatQemuMakes) {
  for (const char* options :
       {"compat=0.10", "lazy_refcounts=on", "compat=1.1,lazy_refcounts=on", "lazy_refcounts=off",
        "refcount_bits=8", "compat=0.10", "refcount_bits=64", "refcount_bits=16,compat=0.10",
        "compat=1.1,refcount_bits=1", "size=20M", "size=5M"})
    expect_same_amendment(options);
}

// qcow2 specification, autoclear_features: who does not know a feature clears its bit when it
// writes to the image, and leaves it when it only reads.
TEST_F(ImgAmend, UnknownAutoclearBitsGoWithEachChangeOfTheImage) {
  const std::string path = directory_ / "ours";
  constexpr size_t kAutoclear = 88;
  const auto bit_after = [&](const char* words) {
    testing::Bytes image = testing::load_file(path);
    image[kAutoclear] |= 0x80;
    testing::save_file(path, image);
    EXPECT_EQ(hull_img(words).exit_code, 0) << words;
    return testing::load_file(path)[kAutoclear] & 0x80;
  };
  for (const char* words : {"info @ours", "check @ours", "compare @ours @theirs", "map @ours"})
    EXPECT_EQ(bit_after(words), 0x80) << words;
  testing::save_file(directory_ / "base", testing::Bytes(1 << 20));
  for (const char* words :
       {"amend -o lazy_refcounts=on @ours", "amend -o refcount_bits=32 @ours",
        "check -r leaks @ours", "check -r all @ours", "resize @ours 11M", "snapshot -c one @ours",
        "snapshot -d one @ours", "bitmap --add @ours one", "bitmap --remove @ours one",
        "compact @ours", "rebase -u -b @base -F raw @ours"})
    EXPECT_EQ(bit_after(words), 0) << words;
}

TEST_F(ImgAmend, SnapshotsStay) {
  ASSERT_EQ(hull_img("snapshot -c one @ours").exit_code, 0);
  ASSERT_EQ(qemu_img("snapshot -c one @theirs").exit_code, 0);
  for (const char* options :
       {"refcount_bits=1", "refcount_bits=4", "refcount_bits=16", "compat=0.10", "compat=1.1"})
    expect_same_amendment(options);
  EXPECT_EQ(qemu_img("snapshot -a one @ours").exit_code, 0);
}

TEST_F(ImgAmend, MistakesAreThoseOfQemu) {
  testing::save_file(directory_ / "raw", testing::Bytes(65536));
  for (const char* words :
       {"amend @ours", "amend -o foo=1 @ours", "amend -o cluster_size=4k @ours",
        "amend -o preallocation=full @ours", "amend -o compat=2 @ours",
        "amend -o backing_file=raw,backing_fmt=raw @ours", "amend -o data_file_raw=on @ours",
        "amend -o data_file=x @ours", "amend -o refcount_bits=3 @ours",
        "amend -o lazy_refcounts=maybe @ours", "amend -f raw -o size=2M @raw",
        "amend -o compat=1.1", "amend -o compat=1.1 @nothing"})
    expect_same(words);
}

TEST_F(ImgAmend, WhatVersionTwoCannotHoldRefuses) {
  ASSERT_EQ(hull_img("bitmap --add @ours one").exit_code, 0);
  EXPECT_EQ(hull_img("amend -o compat=0.10 @ours").exit_code, 1);
  ASSERT_EQ(hull_img("bitmap --remove @ours one").exit_code, 0);
  ASSERT_EQ(testing::run_command("qemu-io -f qcow2 -c 'write -z 4M 1M' " + (directory_ / "ours"))
                .exit_code,
            0);
  EXPECT_EQ(hull_img("amend -o compat=0.10 @ours").exit_code, 1);
  EXPECT_NE(hull_img("info @ours").output.find("compat: 1.1"), std::string::npos);
}

}  // namespace
}  // namespace hull::cli
