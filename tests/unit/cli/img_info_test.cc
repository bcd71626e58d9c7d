// hull img info beside qemu-img info: every kind of image, text and JSON.
#include <gtest/gtest.h>

#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

using testing::Bytes;

class ImgInfo : public testing::ImgFixture {
 protected:
  void expect_same_info(const std::string& name) const {
    SCOPED_TRACE(name);
    expect_same("info @" + name);
    expect_same_json("info --output=json @" + name);
  }
  void make(const std::string& line) const {
    EXPECT_EQ(hull_img("create -q -f qcow2 " + line).exit_code, 0) << line;
  }
  // Bytes of a field in the header of an image.
  void set_field(const std::string& name, size_t offset, const Bytes& value) const {
    Bytes image = testing::load_file(directory_ / name);
    std::ranges::copy(value, image.begin() + static_cast<ptrdiff_t>(offset));
    testing::save_file(directory_ / name, image);
  }
};

TEST_F(ImgInfo, EncryptionIsShownAsQemuImgShowsIt) {
  testing::save_file(directory_ / "key", {'x'});
  const std::string secret =
      "--object secret,id=s,file=@key -o "
      "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1";
  make(secret + " @xts.qcow2 1M");
  make(secret +
       ",encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,"
       "encrypt.ivgen-hash-alg=sha256,encrypt.hash-alg=sha1 @essiv.qcow2 1M");
  expect_same_info("xts.qcow2");
  expect_same_info("essiv.qcow2");
  make("@aes.qcow2 1M");
  set_field("aes.qcow2", 35, {1});
  expect_same_info("aes.qcow2");
}

TEST_F(ImgInfo, EncryptionThatHullDoesNotHaveIsNamed) {
  testing::save_file(directory_ / "key", {'x'});
  make(
      "--object secret,id=s,file=@key -o "
      "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1 @image 1M");
  Bytes image = testing::load_file(directory_ / "image");
  const std::string magic = "LUKS";
  const auto header = std::ranges::search(image, magic);
  ASSERT_FALSE(header.empty());
  const Bytes cipher = {'s', 'e', 'r', 'p', 'e', 'n', 't'};
  std::ranges::copy(cipher, header.begin() + 8);
  testing::save_file(directory_ / "image", image);
  const Outcome info = hull_img("info @image");
  EXPECT_EQ(info.exit_code, 0);
  EXPECT_NE(info.output.find("    encrypt:\n        format: luks\n    corrupt"), std::string::npos)
      << info.output;
  header.begin()[7] = 9;  // the version
  header.begin()[0] = 'l';
  testing::save_file(directory_ / "image", image);
  EXPECT_EQ(hull_img("info @image").exit_code, 1);
}

TEST_F(ImgInfo, EveryKindOfImageIsShownAsQemuImgShowsIt) {
  testing::save_file(directory_ / "odd.raw", Bytes(1000, 1));
  make("-o extended_l2=on @extended.qcow2 1M");
  make("-o compression_type=zstd @zstd.qcow2 1M");
  make("-o compat=0.10 @old.qcow2 1M");
  make("-o lazy_refcounts=on,refcount_bits=1,cluster_size=4k @lazy.qcow2 1M");
  make("-o data_file=@data1 @external.qcow2 1M");
  make("-o data_file=@data2,data_file_raw=on @external_raw.qcow2 1M");
  make("-b @zstd.qcow2 -F qcow2 @overlay.qcow2");
  make("@bitmaps.qcow2 1M");
  EXPECT_EQ(hull_img("bitmap --add @bitmaps.qcow2 one").exit_code, 0);
  EXPECT_EQ(hull_img("bitmap --add --disable -g 128k @bitmaps.qcow2 two").exit_code, 0);
  make("@snapshots.qcow2 1M");
  EXPECT_EQ(hull_img("snapshot -c one @snapshots.qcow2").exit_code, 0);
  EXPECT_EQ(hull_img("snapshot -c two @snapshots.qcow2").exit_code, 0);
  make("@corrupt.qcow2 1M");
  set_field("corrupt.qcow2", 79, {2});
  make("@dirty.qcow2 1M");
  set_field("dirty.qcow2", 79, {1});
  for (const char* name : {"odd.raw", "extended.qcow2", "zstd.qcow2", "old.qcow2", "lazy.qcow2",
                           "external.qcow2", "external_raw.qcow2", "overlay.qcow2", "bitmaps.qcow2",
                           "snapshots.qcow2", "corrupt.qcow2", "dirty.qcow2"})
    expect_same_info(name);
}

}  // namespace
}  // namespace hull::cli
