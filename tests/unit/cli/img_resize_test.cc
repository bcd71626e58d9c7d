// hull img resize beside qemu-img: same words, same sizes, and qemu-img finds nothing wrong.
#include <gtest/gtest.h>

#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

using testing::have_qemu_img;

class ImgResize : public testing::ImgFixture {
 protected:
  void SetUp() override {
    if (!have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
  }
  // The same to two images that are alike.
  void expect_same_resize(const std::string& options, const std::string& size) {
    const Outcome ours = hull_img("resize " + options + " @ours " + size);
    // Where a negative size is not taken for an option.
    const Outcome theirs = qemu_img("resize " + options + " @theirs " + size);
    EXPECT_EQ(ours, theirs) << options << " " << size;
    const auto size_of = [this](const std::string& file) {
      return nlohmann::json::parse(qemu_img("info --output=json @" + file).output)["virtual-size"];
    };
    EXPECT_EQ(size_of("ours"), size_of("theirs")) << options << " " << size;
  }
};

TEST_F(ImgResize, GivesTheSizesAndWordsOfQemu) {
  for (const std::string format : {"raw", "qcow2"}) {
    SCOPED_TRACE(format);
    ASSERT_EQ(hull_img("create -q -f " + format + " @ours 3M").exit_code, 0);
    ASSERT_EQ(hull_img("create -q -f " + format + " @theirs 3M").exit_code, 0);
    const std::string f = "-f " + format;
    expect_same_resize(f, "10M");
    expect_same_resize(f, "+1M");
    expect_same_resize(f, "-5M");  // without --shrink
    expect_same_resize(f + " --shrink", "-5M");
    expect_same_resize(f + " -q", "12M");
    expect_same_resize(f + " --preallocation=falloc", "14M");
    expect_same_resize(f + " --preallocation=full", "15M");
    expect_same_resize(f + " --preallocation=full", "15M");
    expect_same_resize(f + " --preallocation=nonsense", "16M");
    expect_same_resize(f + " --shrink", "-100M");
    expect_same_resize(f, "12x");
    expect_same_resize(f, "+0");
    EXPECT_EQ(qemu_img("check @ours").exit_code, qemu_img("check @theirs").exit_code);
    EXPECT_EQ(qemu_img("compare @ours @theirs").exit_code, 0);
  }
}

TEST_F(ImgResize, LongerBackingFileDoesNotShowThrough) {
  ASSERT_EQ(hull_img("create -q -f raw @base 4M").exit_code, 0);
  testing::save_file(directory_ / "base", testing::Bytes(4 << 20, 0x77));
  ASSERT_EQ(hull_img("create -q -f qcow2 -b base -F raw @ours 1M").exit_code, 0);
  ASSERT_EQ(hull_img("create -q -f qcow2 -b base -F raw @theirs 1M").exit_code, 0);
  expect_same_resize("", "3M");
  EXPECT_EQ(qemu_img("compare @ours @theirs").exit_code, 0);
  EXPECT_EQ(qemu_img("check @ours").exit_code, 0);
}

TEST_F(ImgResize, FileThatIsNotThereIsOneLine) {
  EXPECT_EQ(hull_img("resize @nothing 1M").exit_code, 1);
  EXPECT_EQ(hull_img("resize").exit_code, 1);
  EXPECT_EQ(hull_img("resize @nothing").exit_code, 1);
}

}  // namespace
}  // namespace hull::cli
