// hull img compact, with qemu-img's opinion of what it leaves.
#include <filesystem>

#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

class ImgCompact : public testing::ImgFixture {
 protected:
  // Data at the end of the file alone, and leaked clusters.
  void make_image(const std::string& options) {
    testing::save_file(directory_ / "first", testing::Bytes(1 << 20, 0x11));
    ASSERT_EQ(
        hull_img("convert -f raw -O qcow2 " + options + " @first @first @first @one").exit_code, 0);
    testing::Bytes mostly_zero(3 << 20, 0);
    std::fill(mostly_zero.end() - 200000, mostly_zero.end(), uint8_t{0x77});
    testing::save_file(directory_ / "raw", mostly_zero);
  }
  void expect_good(const std::string& image) {
    if (!testing::have_qemu_img()) return;
    EXPECT_EQ(qemu_img("check " + image).exit_code, 0);
    EXPECT_EQ(qemu_img("compare " + image + " @raw").exit_code, 0);
  }
  uintmax_t size_of(const char* name) const {
    return std::filesystem::file_size(directory_ / name);
  }
};

TEST_F(ImgCompact, SpaceOfZerosIsGivenBack) {
  make_image("-S 0");
  ASSERT_EQ(hull_img("convert -f raw -S 0 -n -O qcow2 @raw @one").exit_code, 0);
  const auto before = size_of("one");
  const Outcome outcome = hull_img("compact --output=json @one");
  ASSERT_EQ(outcome.exit_code, 0);
  const auto report = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(report["file-size-before"], before);
  EXPECT_EQ(report["file-size"], size_of("one"));
  EXPECT_NE(report["zero-clusters-freed"], 0);
  EXPECT_NE(report["clusters-moved"], 0);
  EXPECT_EQ(report["holes"], 0);
  EXPECT_LT(size_of("one"), before / 4);
  expect_good("@one");
}

TEST_F(ImgCompact, SnapshotKeepsWhatItHas) {
  make_image("");
  ASSERT_EQ(hull_img("snapshot -c s @one").exit_code, 0);
  ASSERT_EQ(hull_img("convert -f raw -n -O qcow2 @raw @one").exit_code, 0);
  ASSERT_EQ(hull_img("compact -q @one").exit_code, 0);
  expect_good("@one");
  ASSERT_EQ(hull_img("snapshot -a s @one").exit_code, 0);
  ASSERT_EQ(hull_img("convert @one @back").exit_code, 0);
  EXPECT_EQ(testing::load_file(directory_ / "back"), testing::Bytes(3 << 20, 0x11));
}

TEST_F(ImgCompact, BitmapsStayValid) {
  make_image("-S 0");
  ASSERT_EQ(hull_img("convert -f raw -S 0 -n -O qcow2 @raw @one").exit_code, 0);
  ASSERT_EQ(hull_img("bitmap --add @one b").exit_code, 0);
  const auto before = nlohmann::json::parse(hull_img("info --output=json @one").output);
  ASSERT_EQ(hull_img("compact -q @one").exit_code, 0);
  const auto after = nlohmann::json::parse(hull_img("info --output=json @one").output);
  EXPECT_EQ(before["format-specific"], after["format-specific"]);
  expect_good("@one");
}

TEST_F(ImgCompact, CompressedImageIsPackedAgain) {
  make_image("-c");
  ASSERT_EQ(hull_img("convert -f raw -n -c -O qcow2 @raw @one").exit_code, 0);
  ASSERT_EQ(hull_img("compact -q @one").exit_code, 0);
  expect_good("@one");
}

TEST_F(ImgCompact, ReportIsText) {
  make_image("");
  const Outcome outcome = hull_img("compact @one");
  ASSERT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(outcome.output.starts_with("File length: ")) << outcome.output;
  EXPECT_EQ(hull_img("compact -q @one").output, "");
}

TEST_F(ImgCompact, OthersAreRefused) {
  make_image("");
  EXPECT_EQ(hull_img("compact @raw").exit_code, 1);
  EXPECT_EQ(hull_img("compact -f raw @one").exit_code, 1);
  EXPECT_EQ(hull_img("compact @nothing").exit_code, 1);
  EXPECT_EQ(hull_img("compact").exit_code, 1);
  ASSERT_EQ(
      hull_img("create -q -f qcow2 -o data_file=" + directory_.path() + "/d @ext 1M").exit_code, 0);
  EXPECT_EQ(hull_img("compact @ext").exit_code, 1);
}

}  // namespace
}  // namespace hull::cli
