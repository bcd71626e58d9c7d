// hull img convert and dd: what they write is read back by qemu-img.
#include <random>

#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

constexpr size_t kDiskBytes = (3 << 20) + 512;

class ImgConvert : public testing::ImgFixture {
 protected:
  // Text-like data, noise, and holes.
  void SetUp() override {
    testing::Bytes bytes(kDiskBytes);
    std::mt19937 random(7);
    for (size_t i = 0; i < bytes.size(); ++i) {
      const size_t cluster = i >> 16;
      if (cluster % 5 == 0) continue;
      if (cluster % 5 == 1 && i % 4096 < 64) bytes[i] = static_cast<uint8_t>(random());
      if (cluster % 5 == 2) bytes[i] = static_cast<uint8_t>(random());
      if (cluster % 5 > 2) bytes[i] = static_cast<uint8_t>("abcdefgh"[random() % 8]);
    }
    testing::save_file(directory_ / "src", bytes);
  }
  void expect_copy(const std::string& target) {
    ASSERT_EQ(hull_img("compare -f raw @src " + target).exit_code, 0) << target;
    if (!testing::have_qemu_img()) return;
    EXPECT_EQ(qemu_img("compare -f raw @src " + target).exit_code, 0) << target;
    EXPECT_NE(qemu_img("check " + target).exit_code, 2) << target;
    EXPECT_NE(qemu_img("check " + target).exit_code, 3) << target;
  }
  // Bytes of the disk that have a place in the image, by qemu-img's map.
  uint64_t allocated(const std::string& name) const {
    uint64_t bytes = 0;
    for (const auto& part : nlohmann::json::parse(qemu_img("map --output=json @" + name).output))
      if (part["data"]) bytes += part["length"].get<uint64_t>();
    return bytes;
  }
};

class ImgConvertOptions : public ImgConvert, public ::testing::WithParamInterface<const char*> {};

TEST_P(ImgConvertOptions, TargetHoldsTheSource) {
  ASSERT_EQ(hull_img(std::string("convert -f raw ") + GetParam() + " @src @new").exit_code, 0);
  expect_copy("@new");
  ASSERT_EQ(hull_img("convert @new @again").exit_code, 0);
  EXPECT_EQ(testing::load_file(directory_ / "again"), testing::load_file(directory_ / "src"));
}

TEST_P(ImgConvertOptions, TargetIsTheSameEveryTime) {
  const std::string convert = std::string("convert -f raw ") + GetParam() + " @src ";
  ASSERT_EQ(hull_img(convert + "@one").exit_code, 0);
  ASSERT_EQ(hull_img(convert + "-m 1 @two").exit_code, 0);
  EXPECT_EQ(testing::load_file(directory_ / "one"), testing::load_file(directory_ / "two"));
}

INSTANTIATE_TEST_SUITE_P(
    Options, ImgConvertOptions,
    ::testing::Values(
        "-O raw", "-O raw -C", "-O qcow2 -C", "-O qcow2", "-O raw -S 0", "-O qcow2 -S 0",
        "-O qcow2 -c", "-O qcow2 -c -o compression_type=zstd", "-O qcow2 -c -o cluster_size=512",
        "-O qcow2 -c -o cluster_size=2M", "-O qcow2 -c -o refcount_bits=1",
        "-O qcow2 -c -o refcount_bits=2,cluster_size=4k", "-O qcow2 -c -o compat=0.10",
        "-O qcow2 -c -o extended_l2=on,cluster_size=16k", "-O qcow2 -o extended_l2=on",
        "-O qcow2 -W -o preallocation=metadata,cluster_size=4k"));

TEST_F(ImgConvert, HolesStayHoles) {
  ASSERT_EQ(hull_img("convert -f raw -O qcow2 @src @new").exit_code, 0);
  const auto map = nlohmann::json::parse(hull_img("map --output=json @new").output);
  EXPECT_EQ(map[0]["length"], 65536);
  EXPECT_EQ(map[0]["data"], false);
  EXPECT_EQ(map[1]["data"], true);
}

// -S 0: zeros are data like others, compressed ones too.
TEST_F(ImgConvert, NothingIsLeftOutIfNothingIsToBe) {
  if (!testing::have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
  testing::Bytes data(1 << 20, 0);
  std::fill(data.begin(), data.begin() + (192 << 10), 7);
  testing::save_file(directory_ / "zeros", data);
  for (const char* options : {"-S 0", "-c -S 0", "-c -S 0 -o compression_type=zstd"}) {
    for (const bool ours : {true, false}) {
      const std::string line =
          fmt::format("convert {} -f raw -O qcow2 @zeros @{}", options, ours ? "mine" : "other");
      EXPECT_EQ((ours ? hull_img(line) : qemu_img(line)).exit_code, 0) << line;
    }
    EXPECT_EQ(allocated("mine"), allocated("other")) << options;
    EXPECT_EQ(allocated("mine"), data.size()) << options;
    // And from there once more, stream by stream.
    EXPECT_EQ(hull_img("convert -c -S 0 -O qcow2 @mine @again").exit_code, 0);
    EXPECT_EQ(allocated("again"), data.size()) << options;
    EXPECT_EQ(qemu_img("compare @again @zeros").exit_code, 0);
  }
}

TEST_F(ImgConvert, BackingFileIsNotCopied) {
  ASSERT_EQ(hull_img("convert -f raw -O qcow2 @src @base").exit_code, 0);
  ASSERT_EQ(hull_img("create -q -f qcow2 -b base -F qcow2 @top").exit_code, 0);
  const testing::Bytes small(512, 0);
  testing::save_file(directory_ / "zeros", small);
  ASSERT_EQ(hull_img("convert -O qcow2 -B base -F qcow2 @top @copy").exit_code, 0);
  EXPECT_EQ(hull_img("compare @top @copy").exit_code, 0);
  EXPECT_LT(std::filesystem::file_size(directory_ / "copy"), 400000U);
}

TEST_F(ImgConvert, StreamsOfOneKindAreCopiedAsTheyAre) {
  if (!testing::have_qemu_img()) GTEST_SKIP() << "no qemu-img";
  ASSERT_EQ(hull_img("convert -f raw -c -O qcow2 @src @ours").exit_code, 0);
  // Another program's streams are other bytes for the same data.
  ASSERT_EQ(qemu_img("convert -f raw -c -O qcow2 @src @theirs").exit_code, 0);
  ASSERT_EQ(hull_img("convert -c -O qcow2 @theirs @copy").exit_code, 0);
  expect_copy("@copy");
  EXPECT_NE(testing::load_file(directory_ / "copy"), testing::load_file(directory_ / "ours"));
  EXPECT_LE(std::filesystem::file_size(directory_ / "copy"),
            std::filesystem::file_size(directory_ / "theirs"));
  ASSERT_EQ(hull_img("convert -c -O qcow2 @copy @again").exit_code, 0);
  EXPECT_EQ(testing::load_file(directory_ / "again"), testing::load_file(directory_ / "copy"));
}

TEST_F(ImgConvert, StreamsOfAnotherKindAreMadeAnew) {
  for (const char* options : {"compression_type=zstd", "cluster_size=32k", "compat=0.10"}) {
    ASSERT_EQ(
        hull_img(std::string("convert -f raw -c -O qcow2 -o ") + options + " @src @a").exit_code,
        0);
    ASSERT_EQ(hull_img("convert -c -O qcow2 @a @b").exit_code, 0);
    expect_copy("@b");
  }
}

TEST_F(ImgConvert, StreamsBelowAnOverlayAreCopied) {
  ASSERT_EQ(hull_img("convert -f raw -c -O qcow2 @src @base").exit_code, 0);
  ASSERT_EQ(hull_img("create -q -f qcow2 -b base -F qcow2 @top 4M").exit_code, 0);
  testing::save_file(directory_ / "patch", testing::Bytes(100000, 0x5a));
  ASSERT_EQ(hull_img("convert -f raw -n -O qcow2 @patch @top").exit_code, 0);
  ASSERT_EQ(hull_img("convert -c -O qcow2 @top @flat").exit_code, 0);
  EXPECT_EQ(hull_img("compare @top @flat").exit_code, 0);
  if (!testing::have_qemu_img()) return;
  EXPECT_EQ(qemu_img("compare @top @flat").exit_code, 0);
}

TEST_F(ImgConvert, StreamsThatDoNotMeetTheTargetsClustersAreMadeAnew) {
  ASSERT_EQ(hull_img("convert -f raw -c -O qcow2 @src @one").exit_code, 0);
  ASSERT_EQ(hull_img("convert -c -O qcow2 @one @one @two").exit_code, 0);
  ASSERT_EQ(hull_img("convert @two @raw").exit_code, 0);
  testing::Bytes expected = testing::load_file(directory_ / "src");
  const testing::Bytes once = expected;
  expected.insert(expected.end(), once.begin(), once.end());
  EXPECT_EQ(testing::load_file(directory_ / "raw"), expected);
}

TEST_F(ImgConvert, DamagedStreamIsAnErrorUnlessSalvaged) {
  testing::Bytes letters(2 << 20);
  std::mt19937 random(3);
  for (uint8_t& byte : letters) byte = static_cast<uint8_t>("abcdefgh"[random() % 8]);
  testing::save_file(directory_ / "letters", letters);
  ASSERT_EQ(hull_img("convert -f raw -c -O qcow2 @letters @one").exit_code, 0);
  testing::Bytes image = testing::load_file(directory_ / "one");
  std::fill(image.end() - 20000, image.end() - 600, uint8_t{0xff});
  testing::save_file(directory_ / "one", image);
  EXPECT_EQ(hull_img("convert -c -O qcow2 @one @two").exit_code, 1);
  EXPECT_EQ(hull_img("convert @one @two").exit_code, 1);
  EXPECT_EQ(hull_img("convert -q --salvage -c -O qcow2 @one @two").exit_code, 0);
}

TEST_F(ImgConvert, SnapshotIsWhatTheDiskWas) {
  ASSERT_EQ(hull_img("convert -f raw -O qcow2 @src @one").exit_code, 0);
  ASSERT_EQ(hull_img("snapshot -c first @one").exit_code, 0);
  testing::save_file(directory_ / "patch", testing::Bytes(700000, 0x5a));
  ASSERT_EQ(hull_img("convert -f raw -n -O qcow2 @patch @one").exit_code, 0);
  ASSERT_EQ(hull_img("snapshot -c second @one").exit_code, 0);
  ASSERT_EQ(hull_img("resize -q @one 8M").exit_code, 0);
  for (const char* choice : {"first", "1", "snapshot.id=1", "snapshot.name=first",
                             "snapshot.id=1,snapshot.name=first"}) {
    ASSERT_EQ(hull_img(std::string("convert -O raw -l ") + choice + " @one @raw").exit_code, 0);
    EXPECT_EQ(testing::load_file(directory_ / "raw"), testing::load_file(directory_ / "src"));
  }
  for (const char* choice : {"third", "3", "snapshot.id=1,snapshot.name=second", "snapshot.x=1"})
    EXPECT_EQ(hull_img(std::string("convert -O raw -l ") + choice + " @one @x").exit_code, 1);
  EXPECT_EQ(hull_img("convert -f raw -O raw -l first @src @x").exit_code, 1);
  EXPECT_EQ(hull_img("convert -O raw -l first @one @one @x").exit_code, 1);
  EXPECT_EQ(hull_img("measure -O raw -l first @one").output,
            "required size: 3146240\nfully allocated size: 3146240\n");
}

TEST_F(ImgConvert, BitmapsAreCopied) {
  ASSERT_EQ(hull_img("create -q -f qcow2 @one 4M").exit_code, 0);
  ASSERT_EQ(hull_img("bitmap --add @one on").exit_code, 0);
  ASSERT_EQ(hull_img("bitmap --add -g 512k --disable @one off").exit_code, 0);
  ASSERT_EQ(hull_img("convert -f raw -n -O qcow2 @src @one").exit_code, 0);
  ASSERT_EQ(hull_img("convert --bitmaps -O qcow2 -o cluster_size=4k @one @two").exit_code, 0);
  const auto bitmaps = [this](const char* image) {
    const auto info =
        nlohmann::json::parse(hull_img(std::string("info --output=json ") + image).output);
    return info["format-specific"]["data"]["bitmaps"];
  };
  EXPECT_EQ(bitmaps("@two").size(), 2U);
  EXPECT_EQ(bitmaps("@two"), bitmaps("@one"));
  expect_copy("@two");
  EXPECT_EQ(hull_img("convert -n --bitmaps -O qcow2 @one @two").exit_code, 1);
  for (const char* line :
       {"convert --bitmaps -O raw @one @x", "convert --bitmaps -f raw -O qcow2 @src @x",
        "convert --skip-broken-bitmaps -O qcow2 @one @x", "convert --bitmaps -O qcow2 @one @one @x",
        "convert --bitmaps -O qcow2 -o compat=0.10 @one @x"})
    EXPECT_EQ(hull_img(line).exit_code, 1) << line;
  if (!testing::have_qemu_img()) return;
  expect_same("measure -O qcow2 @one");
  expect_same_json("measure -O qcow2 --output=json @one");
}

TEST_F(ImgConvert, OffloadTakesWhateverTheSourceIsMadeOf) {
  for (const char* options :
       {"-c", "-o extended_l2=on,cluster_size=16k", "-o data_file=@data", "-o cluster_size=512"}) {
    ASSERT_EQ(hull_img(std::string("convert -f raw -O qcow2 ") + options + " @src @q").exit_code,
              0);
    ASSERT_EQ(hull_img("convert -C -f qcow2 -O raw @q @new").exit_code, 0) << options;
    EXPECT_EQ(testing::load_file(directory_ / "new"), testing::load_file(directory_ / "src"));
  }
  ASSERT_EQ(hull_img("create -f qcow2 -b src -F raw @over 4M").exit_code, 0);
  ASSERT_EQ(hull_img("convert -C -f qcow2 -O raw @over @new").exit_code, 0);
  expect_copy("-F raw @new");
}

TEST_F(ImgConvert, OffloadJoinsSources) {
  ASSERT_EQ(hull_img("convert -f raw -O qcow2 -c @src @q").exit_code, 0);
  ASSERT_EQ(hull_img("convert -C -O raw @q @src @q @new").exit_code, 0);
  testing::Bytes expected = testing::load_file(directory_ / "src");
  const testing::Bytes once = expected;
  for (int i = 0; i < 2; ++i) expected.insert(expected.end(), once.begin(), once.end());
  EXPECT_EQ(testing::load_file(directory_ / "new"), expected);
}

TEST_F(ImgConvert, OffloadDoesNotGoWithCompressionSparsenessOrSalvaging) {
  EXPECT_EQ(hull_img("convert -C -S 4k -f raw @src @x").exit_code, 1);
  EXPECT_EQ(hull_img("convert -C --salvage -f raw @src @x").exit_code, 1);
  EXPECT_EQ(hull_img("convert -C -c -f raw -O qcow2 @src @x").exit_code, 1);
  ASSERT_EQ(hull_img("convert -C -f raw -O qcow2 @src @new").exit_code, 0);
  expect_copy("@new");
}

TEST_F(ImgConvert, LastOfRepeatedOptionsCounts) {
  ASSERT_EQ(hull_img("convert -q -q -f qcow2 -f raw -O raw -O qcow2 -m 2 -m 3 @src @new").exit_code,
            0);
  expect_copy("@new");
}

TEST_F(ImgConvert, ExistingTargetIsOverwrittenWithoutCreation) {
  testing::save_file(directory_ / "old", testing::Bytes(kDiskBytes + 512, 0x55));
  ASSERT_EQ(hull_img("convert -f raw -n -O raw @src @old").exit_code, 0);
  testing::Bytes expected = testing::load_file(directory_ / "src");
  expected.resize(kDiskBytes + 512, 0x55);
  EXPECT_EQ(testing::load_file(directory_ / "old"), expected);
}

TEST_F(ImgConvert, SeveralSourcesAreJoined) {
  ASSERT_EQ(hull_img("convert -f raw -O qcow2 @src @src @new").exit_code, 0);
  ASSERT_EQ(hull_img("convert @new @raw").exit_code, 0);
  testing::Bytes expected = testing::load_file(directory_ / "src");
  const testing::Bytes once = expected;
  expected.insert(expected.end(), once.begin(), once.end());
  EXPECT_EQ(testing::load_file(directory_ / "raw"), expected);
}

TEST_F(ImgConvert, ProgressIsThatOfQemu) {
  const Outcome outcome = hull_img("convert -p -f raw -O qcow2 @src @new");
  EXPECT_TRUE(outcome.output.starts_with("    (0.00/100%)\r")) << outcome.output;
  EXPECT_TRUE(outcome.output.ends_with("    (100.00/100%)\r\n")) << outcome.output;
}

TEST_F(ImgConvert, MistakesFail) {
  for (const char* line :
       {"convert", "convert @src", "convert -f raw -c -O raw @src @x",
        "convert -f raw -O vmdk @src @x", "convert -f raw -m 17 @src @x",
        "convert -f raw -S 100 @src @x", "convert @nothing @x", "convert -f raw -t fast @src @x",
        "convert -f raw --target-is-zero @src @x",
        "convert -f raw -O qcow2 -c -o preallocation=full @src @x",
        "convert -f raw -O qcow2 -B src @src @x", "convert -f raw -n -O raw @src @missing"})
    EXPECT_EQ(hull_img(line).exit_code, 1) << line;
}

TEST_F(ImgConvert, DdCopiesTheBlocksThatAreAskedFor) {
  ASSERT_EQ(hull_img("dd -f raw -O qcow2 bs=64k skip=3 count=20 if=@src of=@part").exit_code, 0);
  ASSERT_EQ(hull_img("convert @part @raw").exit_code, 0);
  const testing::Bytes source = testing::load_file(directory_ / "src");
  const testing::Bytes expected(source.begin() + 3 * 65536, source.begin() + 23 * 65536);
  EXPECT_EQ(testing::load_file(directory_ / "raw"), expected);
}

TEST_F(ImgConvert, DdBeyondTheEndCopiesNothing) {
  ASSERT_EQ(hull_img("dd -f raw bs=1M skip=100 if=@src of=@part").exit_code, 0);
  EXPECT_EQ(std::filesystem::file_size(directory_ / "part"), 0U);
  ASSERT_EQ(hull_img("dd -f raw bs=1M skip=2 if=@src of=@part").exit_code, 0);
  EXPECT_EQ(std::filesystem::file_size(directory_ / "part"), kDiskBytes - (2 << 20));
}

TEST_F(ImgConvert, DdRefusesBadOperands) {
  for (const char* line :
       {"dd if=@src", "dd of=@x", "dd bs=0 if=@src of=@x", "dd if=@src of=@x seek=1",
        "dd bs=x if=@src of=@x", "dd if=@src of=@x count"})
    EXPECT_EQ(hull_img(line).exit_code, 1) << line;
}

}  // namespace
}  // namespace hull::cli
