// What a verb writes to is never what it reads, whatever the names are; and nothing that a verb was
// not asked to change is lost.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/support/img_fixture.h"

namespace hull::cli {
namespace {

using testing::Bytes;

class ImgTargets : public testing::ImgFixture {
 protected:
  // A qcow2 image with data, under several names.
  void SetUp() override {
    ASSERT_EQ(hull_img("create -q -f qcow2 @base 1M").exit_code, 0);
    ASSERT_EQ(testing::run_command("qemu-io -f qcow2 -c 'write -P 5 0 1M' " + at("base")).exit_code,
              0);
    std::filesystem::create_symlink("base", at("link"));
    std::filesystem::create_hard_link(at("base"), at("hard"));
    ASSERT_EQ(hull_img("create -q -f qcow2 -F qcow2 -b base @middle").exit_code, 0);
    ASSERT_EQ(hull_img("create -q -f qcow2 -F qcow2 -b middle @top").exit_code, 0);
    testing::save_file(at("raw"), Bytes(1 << 20, 7));
    base_ = testing::load_file(at("base"));
    middle_ = testing::load_file(at("middle"));
  }
  std::string at(const std::string& name) const { return directory_ / name; }

  void expect_refused(const std::string& line) const {
    EXPECT_EQ(hull_img(line).exit_code, 1) << line;
    EXPECT_TRUE(testing::load_file(at("base")) == base_) << line;
    EXPECT_TRUE(testing::load_file(at("middle")) == middle_) << line;
  }

  Bytes base_;
  Bytes middle_;
};

TEST_F(ImgTargets, CreateKeepsOffItsBackingChain) {
  for (const char* const name : {"base", "./base", "link", "hard", "middle"}) {
    const std::string target = std::string(" @") + name;
    expect_refused("create -q -f qcow2 -F qcow2 -b middle" + target);
    expect_refused("create -q -f qcow2 -F qcow2 -b top" + target + " 1M");
    expect_refused("create -q -f qcow2 -o backing_file=top,backing_fmt=qcow2" + target);
    expect_refused("create -q -f qcow2 -u -F qcow2 -b top" + target + " 1M");
    expect_refused("create -q -f qcow2 -F qcow2 -b top -o data_file=" + std::string(name) +
                   " @new");
  }
  expect_refused("create -q -f qcow2 -F qcow2 -b base @base");
  expect_refused("create -q -f qcow2 -F raw -b base @base 1M");
  EXPECT_FALSE(std::filesystem::exists(at("new")));
  EXPECT_EQ(hull_img("create -q -f qcow2 -F qcow2 -b top @top2").exit_code, 0);
}

TEST_F(ImgTargets, CopiesKeepOffTheirSources) {
  for (const char* const name : {"base", "./base", "link", "hard", "middle"}) {
    const std::string target = std::string(" @") + name;
    for (const char* const share : {"", "-U "}) {
      expect_refused(std::string("convert ") + share + "-O qcow2 @top" + target);
      expect_refused(std::string("convert ") + share + "-O raw @raw @top" + target);
      expect_refused(std::string("convert ") + share + "-n -O qcow2 @top" + target);
      expect_refused(std::string("dd ") + share + "-O raw if=@top of=" + target.substr(1));
    }
    expect_refused("convert -U -O qcow2 -o data_file=" + std::string(name) + " @top @new");
    expect_refused("convert -O qcow2 -F qcow2 -B top @raw" + target);
  }
}

TEST_F(ImgTargets, DataFilesCountAsWhatIsRead) {
  ASSERT_EQ(hull_img("create -q -f qcow2 -o data_file=d.raw @d 1M").exit_code, 0);
  testing::save_file(at("d.raw"), Bytes(1 << 20, 9));
  const Bytes data = testing::load_file(at("d.raw"));
  for (const char* const line :
       {"convert -U -O raw @d @d.raw", "dd -U if=@d of=@d.raw", "convert -U -n -O raw @d @d.raw",
        "create -q -f qcow2 -F qcow2 -b d @d.raw", "create -q -f qcow2 -u -F qcow2 -b d @d.raw 1M"})
    EXPECT_EQ(hull_img(line).exit_code, 1) << line;
  EXPECT_TRUE(testing::load_file(at("d.raw")) == data);
  // A data file that is the image itself, or below it.
  ASSERT_EQ(hull_img("rebase -u -F qcow2 -b top @d").exit_code, 0);
  expect_refused("amend -o data_file=base @d");
  expect_refused("amend -o data_file=d @d");
}

TEST_F(ImgTargets, ChainsDoNotLeadBack) {
  expect_refused("rebase -F qcow2 -b top @base");
  expect_refused("rebase -u -F qcow2 -b top @base");
  expect_refused("rebase -u -F qcow2 -b base @base");
  expect_refused("rebase -u -F qcow2 -b hard @base");
}

TEST_F(ImgTargets, GrowthCutsNoDataFile) {
  for (const char* const raw : {"", ",data_file_raw=on"}) {
    ASSERT_EQ(
        hull_img(std::string("create -q -f qcow2 -o data_file=d.raw") + raw + " @d 1M").exit_code,
        0);
    Bytes data(3 << 20, 0);
    data[2800000] = 'K';
    testing::save_file(at("d.raw"), data);
    EXPECT_EQ(hull_img("resize -q -f qcow2 @d 2M").exit_code, 0);
    EXPECT_TRUE(testing::load_file(at("d.raw")) == data) << raw;
    EXPECT_EQ(hull_img("resize -q -f qcow2 @d 4M").exit_code, 0);
    EXPECT_GE(testing::load_file(at("d.raw")).size(), size_t{4} << 20);
    EXPECT_EQ(hull_img("check -q @d").exit_code, 0);
  }
}

TEST_F(ImgTargets, SnapshotsKeepWhatTheyRead) {
  ASSERT_EQ(hull_img("create -q -f qcow2 @other 1M").exit_code, 0);
  ASSERT_EQ(hull_img("snapshot -c s @middle").exit_code, 0);
  ASSERT_EQ(hull_img("convert -l s -O raw @middle @before").exit_code, 0);
  const Bytes image = testing::load_file(at("middle"));
  for (const char* const line :
       {"rebase -b  @middle", "rebase -F qcow2 -b other @middle", "commit -q @middle",
        "commit -q -d @middle", "commit -q -b base @top"}) {
    EXPECT_EQ(hull_img(line).exit_code, 1) << line;
  }
  EXPECT_TRUE(testing::load_file(at("middle")) == image);
  EXPECT_TRUE(testing::load_file(at("base")) == base_);
  ASSERT_EQ(hull_img("convert -l s -O raw @middle @after").exit_code, 0);
  EXPECT_TRUE(testing::load_file(at("before")) == testing::load_file(at("after")));
  EXPECT_EQ(hull_img("rebase --change-snapshots -F qcow2 -b other @middle").exit_code, 0);
  EXPECT_EQ(hull_img("commit -q --change-snapshots @middle").exit_code, 0);
  // Without a backing file snapshots read nothing from one.
  ASSERT_EQ(hull_img("snapshot -c s @other").exit_code, 0);
}

TEST_F(ImgTargets, OverlayOverABaseInUseIsMade) {
  // A holder of the locks that a running VM has.
  const std::string holder =
      "qemu-io -f qcow2 -c 'sleep 60000' " + at("base") + " >/dev/null 2>&1 & echo $!";
  const auto started = testing::run_command(holder);
  const std::string pid = started.output.substr(0, started.output.find('\n'));
  int locked = 0;
  for (int i = 0; i < 200 && locked == 0; ++i) {
    locked = hull_img("check -q @base").exit_code == 1 ? 1 : 0;
    if (locked == 0) testing::run_command("sleep 0.05");
  }
  EXPECT_EQ(locked, 1);
  EXPECT_EQ(hull_img("create -q -f qcow2 -F qcow2 -b base @snapshot").exit_code, 0);
  EXPECT_EQ(hull_img("info -f raw @base").exit_code, 0);
  EXPECT_EQ(hull_img("info @base").exit_code, 1);
  testing::run_command("kill " + pid);
}

TEST_F(ImgTargets, NewFilesHaveTheModeOfTheUmask) {
  for (const mode_t mask : {mode_t{022}, mode_t{002}, mode_t{077}}) {
    const mode_t before = ::umask(mask);
    for (const char* const line :
         {"create -q @new 1M", "create -q -f qcow2 -o data_file=new.raw @new 1M",
          "convert -O raw @base @new", "convert -O qcow2 @base @new", "dd if=@base of=@new"}) {
      std::filesystem::remove(at("new"));
      std::filesystem::remove(at("new.raw"));
      EXPECT_EQ(hull_img(line).exit_code, 0) << line;
      for (const char* const name : {"new", "new.raw"}) {
        struct stat facts{};
        if (::stat(at(name).c_str(), &facts) == 0) {
          EXPECT_EQ(facts.st_mode & 0777U, 0666U & ~mask) << line;
        }
      }
    }
    ::umask(before);
  }
}

// Zeros past the end of the old chain are said by entries and not written.
TEST_F(ImgTargets, RebaseWritesNoZeros) {
  testing::save_file(at("full"), Bytes(8 << 20, 0x11));
  ASSERT_EQ(hull_img("create -q -f qcow2 @thin 8M").exit_code, 0);
  ASSERT_EQ(hull_img("rebase -F raw -b full @thin").exit_code, 0);
  EXPECT_LT(testing::load_file(at("thin")).size(), size_t{1} << 20);
  ASSERT_EQ(hull_img("convert -O raw @thin @flat").exit_code, 0);
  EXPECT_TRUE(testing::load_file(at("flat")) == Bytes(8 << 20, 0));
}

}  // namespace
}  // namespace hull::cli
