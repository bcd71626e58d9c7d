// hull img compare, measure and bench beside qemu-img's.
#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

class ImgCompare : public testing::ImgFixture {
 protected:
  void SetUp() override {
    if (!testing::have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
    testing::Bytes bytes(5 << 20);
    std::fill(bytes.begin() + 70000, bytes.begin() + 300000, uint8_t{7});
    testing::save_file(directory_ / "one", bytes);
    bytes[200003] = 8;
    testing::save_file(directory_ / "two", bytes);
    bytes.resize(6 << 20);
    testing::save_file(directory_ / "longer", bytes);
    bytes[(5 << 20) + 1234] = 1;
    testing::save_file(directory_ / "other", bytes);
    ASSERT_EQ(qemu_img("convert -f raw -O qcow2 @one @one.qcow2").exit_code, 0);
    ASSERT_EQ(qemu_img("convert -f raw -O qcow2 @longer @longer.qcow2").exit_code, 0);
    ASSERT_EQ(qemu_img("create -q -f qcow2 @empty 5M").exit_code, 0);
  }
};

TEST_F(ImgCompare, VerdictIsThatOfQemu) {
  for (const char* images :
       {"-f raw -F raw @one @one", "-f raw -F raw @one @two", "-f raw -F raw @two @longer",
        "-f raw -F raw @two @other", "-f raw @one @one.qcow2", "-f raw @two @one.qcow2",
        "-F raw @longer.qcow2 @two", "-f raw -F raw -s @one @longer", "@one.qcow2 @empty",
        "@empty @one.qcow2", "-f raw @other @longer.qcow2", "-q -f raw -F raw @one @two",
        "@one.qcow2 @nothing", "@one.qcow2 @one.qcow2", "-s @one.qcow2 @one.qcow2"})
    expect_same(std::string("compare ") + images);
}

TEST_F(ImgCompare, MeasuresLikeQemu) {
  for (const char* words :
       {"-O qcow2 @one.qcow2", "-O raw @one.qcow2", "-f raw -O raw @one", "--size 1G",
        "-O qcow2 --size 1T -o cluster_size=2M", "-O qcow2 --size 1000 -o cluster_size=512",
        "-O qcow2 --size 100G -o refcount_bits=64", "-O qcow2 --size 3G -o extended_l2=on",
        "-O qcow2 --size 3G -o preallocation=full", "-O qcow2 @empty", "-O qcow2 --size 2E", "",
        "--size 1G @empty", "-O qcow2 -o compat=0.10 @one.qcow2"}) {
    expect_same(std::string("measure ") + words);
    if (hull_img(std::string("measure ") + words).exit_code == 0)
      expect_same_json(std::string("measure --output=json ") + words);
  }
}

TEST_F(ImgCompare, BenchAnnouncesItsRequestsLikeQemu) {
  for (const char* words : {"-c 10 @empty", "-c 100 -d 2 -w --flush-interval=10 @empty",
                            "-c 100 -d 4 -w --flush-interval=10 --no-drain --pattern=3 @empty",
                            "-c 3 -s 64k -S 1M -o 512 @empty", "-c 0 @empty"}) {
    const Outcome ours = hull_img(std::string("bench ") + words);
    const Outcome theirs = qemu_img(std::string("bench ") + words);
    EXPECT_EQ(ours.exit_code, 0) << words;
    EXPECT_EQ(ours.output.substr(0, ours.output.find("Run completed")),
              theirs.output.substr(0, theirs.output.find("Run completed")));
  }
  EXPECT_EQ(hull_img("check @empty").exit_code, 0);
}

TEST_F(ImgCompare, BenchRefusesWhatItCannotDo) {
  for (const char* words :
       {"--flush-interval=10 @empty", "-w -d 20 --flush-interval=10 @empty", "-d 0 @empty",
        "-i foo @empty", "-w --pattern=256 @empty", "-s 0 @empty", "-s 20M -c 1 @empty", ""})
    EXPECT_EQ(hull_img(std::string("bench ") + words).exit_code, 1) << words;
}

}  // namespace
}  // namespace hull::cli
