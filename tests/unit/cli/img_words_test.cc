// The spellings that scripts written for qemu-img use: names, sizes, options.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/img_fixture.h"
#include "tools/hull/img_options.h"

namespace hull::cli {
namespace {

using testing::Bytes;

class ImgWords : public testing::ImgFixture {
 protected:
  std::string at(const std::string& name) const { return directory_ / name; }
  bool exists(const std::string& name) const { return std::filesystem::exists(at(name)); }
};

TEST(ImgSizes, AreReadAsQemuImgReadsThem) {
  const auto size = [](const char* text) { return parse_img_size(text).value_or(~uint64_t{0}); };
  EXPECT_EQ(size("0x100000"), 0x100000U);
  EXPECT_EQ(size("0X10k"), 0x4000U);
  EXPECT_EQ(size(" 10M"), 10U << 20);
  EXPECT_EQ(size("\t+1M"), 1U << 20);
  EXPECT_EQ(size("1024.0"), 1024U);
  EXPECT_EQ(size("1.5k"), 1536U);
  EXPECT_EQ(size("7E"), uint64_t{7} << 60);
  EXPECT_EQ(size("10b"), 10U);
  for (const char* const bad : {"", " ", "-1", "1.5", "8E", "0x", "k", "1kk", "1 k", ".5k",
                                "1.2.3k", "99999999999999999999", "0x1.8k", "1Z"})
    EXPECT_FALSE(parse_img_size(bad)) << bad;
  EXPECT_NE(parse_img_size("8E").error().message().find("Must be between 0 and"),
            std::string::npos);
}

TEST_F(ImgWords, NamesMeanWhatTheyMeanToQemuImg) {
  struct Case {
    const char* word;
    const char* path;  // nullptr: refused
  };
  for (const Case& one : {Case{"a.raw", "a.raw"},
                          {"file:a.raw", "a.raw"},
                          {"file:/tmp/x", "/tmp/x"},
                          {"host_device:/dev/x", "/dev/x"},
                          {"./nbd:localhost:10809", "./nbd:localhost:10809"},
                          {"dir/ssh:x", "dir/ssh:x"},
                          {"nbd:localhost:10809", "nbd://localhost:10809/"},
                          {"nbd:localhost:1:exportname=a b", "nbd://localhost:1/a%20b"},
                          {"nbd:unix:/run/s", "nbd+unix:///?socket=/run/s"},
                          {"nbd:unix:/run/s:exportname=x", "nbd+unix:///x?socket=/run/s"},
                          {"nbd://h/x", "nbd://h/x"},
                          {"nbd:localhost", nullptr},
                          {"nbd:unix:", nullptr},
                          {"nbd:h:0", nullptr},
                          {"ssh:x", nullptr},
                          {"fat:x", nullptr},
                          {"https://h/x", nullptr},
                          {"blkdebug::x", nullptr}}) {
    const auto path = parse_img_path(one.word);
    EXPECT_EQ(path.has_value(), one.path != nullptr) << one.word;
    if (path && one.path != nullptr) {
      EXPECT_EQ(*path, one.path);
    }
  }
}

TEST_F(ImgWords, NamesInJsonAreNodeOptions) {
  const auto name = parse_img_name(
      R"(json:{"driver":"qcow2","file":{"driver":"file","filename":"a,b"},"read-only":true})", "",
      false);
  ASSERT_TRUE(name) << name.error().message();
  EXPECT_EQ(name->path, "a,b");
  EXPECT_EQ(name->format, blockcore::DiskFormat::kQcow2);
  EXPECT_EQ(name->read_only, true);
  const auto export_name = parse_img_name(
      R"(json:{"driver":"raw","file.driver":"nbd","file.server":{"type":"unix","path":"/s"}})", "",
      false);
  ASSERT_TRUE(export_name) << export_name.error().message();
  EXPECT_EQ(export_name->path, "nbd+unix:///?socket=/s");
  for (const char* const bad : {"json:{", "json:[]", "json:{\"driver\":\"ssh\"}",
                                "json:{\"x\":[1]}", "json:{\"driver\":\"qcow2\"}"})
    EXPECT_FALSE(parse_img_name(bad, "", false)) << bad;
  EXPECT_FALSE(parse_img_name(R"(json:{"driver":"qcow2","file.filename":"a"})", "raw", false));
}

// A file of the whole word's name never appears.
TEST_F(ImgWords, NoFileIsCalledLikeAProtocol) {
  const std::string here = std::filesystem::current_path();
  std::filesystem::current_path(directory_.path());
  testing::save_file("r.raw", Bytes(1 << 20, 1));
  for (const char* const line :
       {"convert -f raw -O raw r.raw nbd:localhost:1", "convert -f raw -O raw r.raw ssh:x",
        "convert -f raw -O raw r.raw json:{\"driver\":\"x\"}", "create -f qcow2 fat:x 1M",
        "dd if=r.raw of=nbd:unix:/nonexistent", "create nbd:localhost:1 1M"})
    EXPECT_EQ(hull_img(line).exit_code, 1) << line;
  EXPECT_EQ(hull_img("convert -f raw -O raw r.raw file:o.raw").exit_code, 0);
  EXPECT_EQ(hull_img("create -f qcow2 file:x.qcow2 1M").exit_code, 0);
  EXPECT_EQ(hull_img("info file:x.qcow2").exit_code, 0);
  EXPECT_EQ(hull_img("check file:x.qcow2").exit_code, 0);
  EXPECT_EQ(hull_img("create ./ssh:x 1M").exit_code, 0);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("."))
    names.push_back(entry.path().filename());
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"o.raw", "r.raw", "ssh:x", "x.qcow2"}));
  std::filesystem::current_path(here);
}

TEST_F(ImgWords, NamesInBracketsAreNames) {
  const std::string here = std::filesystem::current_path();
  std::filesystem::current_path(directory_.path());
  testing::save_file("b", Bytes(100, 'b'));
  ASSERT_EQ(hull_img("create -q -f qcow2 d 1M").exit_code, 0);
  EXPECT_EQ(hull_img("convert -O raw d [b]").exit_code, 0);
  EXPECT_EQ(testing::load_file("b"), Bytes(100, 'b'));
  EXPECT_TRUE(std::filesystem::exists("[b]"));
  EXPECT_EQ(hull_img("convert -O raw [a] out").exit_code, 1);
  EXPECT_EQ(hull_img("convert -f raw -O raw [b] [b] [c,d]").exit_code, 0);
  EXPECT_EQ(std::filesystem::file_size("[c,d]"), size_t{2} << 20);
  EXPECT_EQ(hull_img("dd if=d [of=zz]").exit_code, 1);
  EXPECT_FALSE(std::filesystem::exists("zz"));
  std::filesystem::current_path(here);
}

TEST_F(ImgWords, ForeignFormatsAreNamedAndNotTakenForRaw) {
  struct Case {
    const char* name;
    size_t offset;
    std::string magic;
  };
  using namespace std::string_literals;
  for (const Case& one : {Case{"vmdk", 0, "KDMV"s},
                          {"vmdk", 0, "COWD"s},
                          {"vmdk", 0, "# Disk DescriptorFile\n"s},
                          {"vdi", 64, "\x7f\x10\xda\xbe"s},
                          {"vhdx", 0, "vhdxfile"s},
                          {"vpc", 0, "conectix"s},
                          {"qed", 0, "QED\0"s},
                          {"parallels", 0, "WithoutFreeSpace"s},
                          {"parallels", 0, "WithouFreSpacExt"s},
                          {"luks", 0, "LUKS\xba\xbe"s},
                          {"bochs", 0, "Bochs Virtual HD Image\0"s},
                          {"cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file"s},
                          {"dmg", (1 << 20) - 512, "koly"s}}) {
    Bytes bytes(1 << 20, 0);
    std::ranges::copy(one.magic, bytes.begin() + static_cast<ptrdiff_t>(one.offset));
    testing::save_file(at("x"), bytes);
    for (const char* const line : {"info @x", "convert -O qcow2 @x @y", "measure -O qcow2 @x",
                                   "compare @x @x", "map @x", "resize @x 2M", "dd if=@x of=@y"})
      EXPECT_NE(hull_img(line).exit_code, 0) << one.name << ": " << line;
    EXPECT_FALSE(exists("y"));
    EXPECT_EQ(hull_img("info -f raw @x").exit_code, 0);
    EXPECT_EQ(hull_img("convert -f raw -O raw @x @y").exit_code, 0);
    EXPECT_TRUE(testing::load_file(at("y")) == bytes);
    std::filesystem::remove(at("y"));
  }
}

TEST_F(ImgWords, OptionsOfQemuImgAreKnown) {
  for (const char* const good :
       {"-f qcow2 -o lazy_refcounts=on,preallocation=off,nocow=on", "-f qcow2 -o lazy_refcounts",
        "-f raw -o nocow=off", "-f raw -o extent_size_hint=1M", "-f qcow2 -o encryption=off",
        "-f qcow2 -o cluster_size=0x10000", "-f qcow2 -o refcount_bits=0x10"})
    EXPECT_EQ(hull_img(std::string("create -q ") + good + " @x 1M").exit_code, 0) << good;
  for (const char* const bad :
       {"-f qcow2 -o backing_file=", "-f qcow2 -o backing_fmt=qcow2", "-f qcow2 -o size=5M",
        "-f qcow2 -o foo", "-f qcow2 -o foo=1", "-f qcow2 -o lazy_refcounts,,on",
        "-f qcow2 -o encryption=on", "-f vmdk"})
    EXPECT_EQ(hull_img(std::string("create -q ") + bad + " @bad 1M").exit_code, 1) << bad;
  EXPECT_FALSE(exists("bad"));
  std::vector<std::string> words{"create", "-f", "qcow2", "-b", "", "-F", "qcow2", at("bad"), "1M"};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  EXPECT_EQ(img_verb(arguments), 1);
  EXPECT_FALSE(exists("bad"));
  for (const char* const line : {"create -f qcow2 -o help", "create -o ?",
                                 "convert -O qcow2 -o help", "amend -f qcow2 -o help"})
    EXPECT_EQ(hull_img(line).exit_code, 0) << line;
  EXPECT_EQ(hull_img("measure -O raw --size 7E").exit_code, 0);
  EXPECT_EQ(hull_img("measure -O qcow2 -o cluster_size=8k,extended_l2=on --size 1G").exit_code, 1);
}

TEST_F(ImgWords, HelpNamesFormatsAndOptions) {
  const Outcome help = hull_img("--help");
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.output.find("\nSupported formats: raw qcow2\n"), std::string::npos);
  const size_t info = help.output.find("\n  info [");
  ASSERT_NE(info, std::string::npos);
  EXPECT_LT(help.output.find(" [-U] ", info), help.output.find('\n', info + 1));
}

TEST_F(ImgWords, SecretsOfTargetsAreFound) {
  testing::save_file(at("key"), {'p', 'w'});
  testing::save_file(at("r"), Bytes(1 << 20, 3));
  const std::string secret =
      "--object secret,id=s,file=@key -o encrypt.format=luks,encrypt.key-secret=s,"
      "encrypt.iter-time=10 ";
  ASSERT_EQ(hull_img("convert -f raw -O qcow2 " + secret + "@r @e").exit_code, 0);
  EXPECT_EQ(hull_img("convert --object secret,id=s,file=@key --image-opts -O raw "
                     "driver=qcow2,encrypt.key-secret=s,file.filename=@e @back")
                .exit_code,
            0);
  EXPECT_TRUE(testing::load_file(at("back")) == testing::load_file(at("r")));
  const Outcome plain = hull_img("measure -O qcow2 --size 1G");
  const Outcome measured = hull_img("measure -O qcow2 " + secret + "--size 1G");
  EXPECT_EQ(measured.exit_code, 0);
  const auto required = [](const Outcome& outcome) {
    return std::strtoull(outcome.output.c_str() + sizeof "required size:", nullptr, 10);
  };
  EXPECT_GT(required(measured), required(plain) + (1 << 20));
}

// Sources whose sizes are no multiple of the target's cluster.
TEST_F(ImgWords, SeveralSourcesAreCompressedTogether) {
  Bytes first(1536, 0x21);
  Bytes second(200192, 0);
  for (size_t i = 0; i < second.size(); ++i) second[i] = static_cast<uint8_t>(i * 7919 >> 5);
  testing::save_file(at("a"), first);
  testing::save_file(at("b"), second);
  for (const char* const how : {"-c", ""}) {
    ASSERT_EQ(hull_img(std::string("convert -f raw ") + how + " -O qcow2 @a @b @a @out").exit_code,
              0);
    ASSERT_EQ(hull_img("convert -O raw @out @flat").exit_code, 0);
    Bytes all = first;
    all.insert(all.end(), second.begin(), second.end());
    all.insert(all.end(), first.begin(), first.end());
    EXPECT_TRUE(testing::load_file(at("flat")) == all);
    EXPECT_EQ(hull_img("check -q @out").exit_code, 0);
  }
}

TEST_F(ImgWords, DdSaysWhenItSkipsEverything) {
  testing::save_file(at("r"), Bytes(1 << 20, 3));
  EXPECT_EQ(hull_img("dd bs=1M skip=2 if=@r of=@o").exit_code, 0);
  EXPECT_EQ(std::filesystem::file_size(at("o")), 0U);
}

// As programs from before version 3 wrote it.
TEST_F(ImgWords, AmendCompletesOldSnapshots) {
  if (!testing::have_qemu_img()) GTEST_SKIP() << "there is no qemu-img";
  ASSERT_EQ(qemu_img("create -q -f qcow2 -o compat=0.10 @a 4M").exit_code, 0);
  ASSERT_EQ(qemu_img("snapshot -c s1 @a").exit_code, 0);
  Bytes image = testing::load_file(at("a"));
  const auto number = [&image](size_t at, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i) value = value << 8 | image[at + i];
    return value;
  };
  const size_t entry = number(64, 8);
  const size_t extra = number(entry + 36, 4);
  const size_t names = number(entry + 12, 2) + number(entry + 14, 2);
  std::copy_n(image.begin() + static_cast<ptrdiff_t>(entry + 40 + extra), names,
              image.begin() + static_cast<ptrdiff_t>(entry + 40));
  std::fill_n(image.begin() + static_cast<ptrdiff_t>(entry + 36), 4, uint8_t{0});
  testing::save_file(at("a"), image);
  ASSERT_EQ(hull_img("check -q @a").exit_code, 0);
  EXPECT_EQ(hull_img("amend -o compat=1.1 @a").exit_code, 0);
  EXPECT_EQ(hull_img("check -q @a").exit_code, 0);
  EXPECT_EQ(qemu_img("check -q @a").exit_code, 0);
}

}  // namespace
}  // namespace hull::cli
