// hull img rebase and commit beside qemu-img: same words and exit codes, and disks that read alike.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

using testing::have_qemu_img;

class ImgChains : public testing::ImgFixture {
 protected:
  void SetUp() override {
    if (!have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
  }
  void save_random(const std::string& file, size_t bytes, unsigned seed) {
    std::mt19937 random{seed};
    testing::Bytes data(bytes);
    for (size_t at = 0; at < bytes; at += 65536)
      if (random() % 3 != 0)
        for (size_t i = at; i < std::min(bytes, at + 65536); ++i)
          data[i] = static_cast<uint8_t>(random());
    testing::save_file(directory_ / file, data);
  }
  // An overlay with some clusters of its own, some of them zeros.
  void make_overlay(const std::string& name, const std::string& options) {
    ASSERT_EQ(hull_img("create -q -f qcow2 " + options + " @" + name + " 3M").exit_code, 0);
    const auto wrote = testing::run_command(
        "qemu-io -c 'write -P 5 100k 300k' -c 'write -z 1M 256k' -c 'write -P 6 2500k 10k' " +
        (directory_ / name));
    ASSERT_EQ(wrote.exit_code, 0) << wrote.output;
  }
  // The overlay's disk as a raw file, to compare with later.
  void remember(const std::string& name) {
    ASSERT_EQ(qemu_img("convert -O raw @" + name + " @" + name + ".was").exit_code, 0);
  }
  void expect_unchanged(const std::string& name) {
    EXPECT_EQ(qemu_img("compare -f qcow2 -F raw @" + name + " @" + name + ".was").exit_code, 0)
        << name;
    EXPECT_EQ(qemu_img("check @" + name).exit_code, 0) << name;
  }
};

TEST_F(ImgChains, SafeRebaseLeavesTheDiskAsItIs) {
  save_random("old", 3 << 20, 1);
  save_random("new", 2 << 20, 2);
  for (const std::string options : {"-b old -F raw", "-b old -F raw -o compat=0.10,cluster_size=4k",
                                    "-b old -F raw -o extended_l2=on,cluster_size=64k"}) {
    SCOPED_TRACE(options);
    make_overlay("x", options);
    remember("x");
    EXPECT_EQ(hull_img("rebase -b new -F raw @x"), (Outcome{0, ""}));
    expect_unchanged("x");
    // To a longer one, to none, and from none.
    EXPECT_EQ(hull_img("rebase -b old -F raw @x").exit_code, 0);
    expect_unchanged("x");
    std::vector<std::string> parts{"rebase", "-b", "", directory_ / "x"};
    std::vector<char*> arguments;
    for (std::string& part : parts) arguments.push_back(part.data());
    EXPECT_EQ(img_verb(arguments), 0);
    expect_unchanged("x");
    const auto info = nlohmann::json::parse(qemu_img("info --output=json @x").output);
    EXPECT_FALSE(info.contains("backing-filename"));
    EXPECT_EQ(hull_img("rebase -b new -F raw @x").exit_code, 0);
    expect_unchanged("x");
  }
}

TEST_F(ImgChains, RefusalsAreThoseOfQemu) {
  save_random("old", 3 << 20, 1);
  make_overlay("x", "-b old -F raw");
  for (const char* line :
       {"rebase @x", "rebase -b old @x", "rebase -u -b old @x", "rebase -b missing -F raw @x",
        "commit -b missing @x", "commit -f raw @old", "commit @missing"}) {
    EXPECT_EQ(hull_img(line), qemu_img(line)) << line;
    EXPECT_EQ(hull_img(line).exit_code, 1) << line;
  }
  EXPECT_EQ(hull_img("rebase -u -b missing -F raw @x").exit_code, 0);
  const auto info = nlohmann::json::parse(qemu_img("info --output=json @x").output);
  EXPECT_EQ(info["backing-filename"], "missing");
  EXPECT_EQ(info["backing-filename-format"], "raw");
}

TEST_F(ImgChains, CommitMovesDataDownAndEmptiesTheOverlay) {
  for (const std::string base : {"raw", "qcow2"}) {
    SCOPED_TRACE(base);
    save_random("base.raw", 1 << 20, 3);
    ASSERT_EQ(qemu_img("convert -O " + base + " -f raw @base.raw @base").exit_code, 0);
    // Larger than its base, which grows.
    make_overlay("x", "-b base -F " + base);
    remember("x");
    EXPECT_EQ(hull_img("commit @x"), (Outcome{0, "Image committed.\n"}));
    expect_unchanged("x");
    EXPECT_EQ(qemu_img("compare -f " + base + " -F raw @base @x.was").exit_code, 0);
    const auto check = nlohmann::json::parse(qemu_img("check --output=json @x").output);
    EXPECT_FALSE(check.contains("allocated-clusters"));
    EXPECT_LT(std::filesystem::file_size(directory_ / "x"), 400U << 10);
  }
}

// Otherwise this would take years.
TEST_F(ImgChains, RateCountsDataAlone) {
  ASSERT_EQ(hull_img("create -q -f raw @base 4G").exit_code, 0);
  ASSERT_EQ(hull_img("create -q -f qcow2 -b base -F raw @x").exit_code, 0);
  ASSERT_EQ(testing::run_command("qemu-io -c 'write -z 1M 1G' " + (directory_ / "x")).exit_code, 0);
  EXPECT_EQ(hull_img("commit -r 1 @x"), (Outcome{0, "Image committed.\n"}));
  EXPECT_EQ(hull_img("convert -r 1 -O qcow2 @base @y").exit_code, 0);
}

TEST_F(ImgChains, ExtremeRatesAreNoLimit) {
  save_random("base", 3 << 20, 3);
  make_overlay("x", "-b base -F raw");
  remember("x");
  EXPECT_EQ(hull_img("commit -r 4E @x").exit_code, 0);
  expect_unchanged("x");
}

TEST_F(ImgChains, CommitIntoLowerFileKeepsTheOverlay) {
  save_random("base", 3 << 20, 3);
  ASSERT_EQ(hull_img("create -q -f qcow2 -b base -F raw @middle").exit_code, 0);
  ASSERT_EQ(
      testing::run_command("qemu-io -c 'write -P 9 0 500k' " + (directory_ / "middle")).exit_code,
      0);
  make_overlay("x", "-b middle -F qcow2");
  remember("x");
  EXPECT_EQ(hull_img("commit -q -b base @x"), (Outcome{0, ""}));
  expect_unchanged("x");
  EXPECT_EQ(qemu_img("compare -f raw -F raw @base @x.was").exit_code, 0);
  EXPECT_EQ(hull_img("commit -d @x").exit_code, 0);
  const auto check = nlohmann::json::parse(qemu_img("check --output=json @x").output);
  EXPECT_TRUE(check.contains("allocated-clusters"));
}

}  // namespace
}  // namespace hull::cli
