#include "tools/hull/img_options.h"

#include <gtest/gtest.h>

#include "tests/support/img_fixture.h"
#include "tools/hull/img_progress.h"

namespace hull::cli {
namespace {

using blockcore::CacheMode;
using blockcore::DiskFormat;

class ImgOptions : public testing::ImgFixture {
 protected:
  std::string secret_file(const std::string& text) const {
    testing::save_file(directory_ / "key", testing::Bytes(text.begin(), text.end()));
    return directory_ / "key";
  }
};

std::string text_of(const ImgSecrets& secrets, const std::string& id) {
  const auto secret = secrets.find(id);
  return {reinterpret_cast<const char*>(secret->data()), secret->size_bytes()};
}

TEST_F(ImgOptions, SecretComesFromAFile) {
  ImgSecrets secrets;
  ASSERT_TRUE(secrets.add("secret,id=sec0,file=" + secret_file("top secret\n")));
  ASSERT_NE(secrets.find("sec0"), nullptr);
  EXPECT_EQ(text_of(secrets, "sec0"), "top secret\n");
  EXPECT_EQ(secrets.find("sec1"), nullptr);
}

TEST_F(ImgOptions, SecretMayBeBase64) {
  ImgSecrets secrets;
  ASSERT_TRUE(secrets.add("secret,id=a,format=base64,file=" + secret_file("aHVsbA==\n")));
  EXPECT_EQ(text_of(secrets, "a"), "hull");
  EXPECT_FALSE(secrets.add("secret,id=b,format=base64,file=" + secret_file("aHV!")));
  EXPECT_FALSE(secrets.add("secret,id=b,format=base64,file=" + secret_file("aHVsb")));
}

TEST_F(ImgOptions, SecretOnTheCommandLineIsRefused) {
  ImgSecrets secrets;
  const auto added = secrets.add("secret,id=sec0,data=123456");
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().message().find("123456"), std::string::npos);
}

TEST_F(ImgOptions, BadSecretsAreRefused) {
  ImgSecrets secrets;
  const std::string path = secret_file("x");
  EXPECT_FALSE(secrets.add("secret,id=sec0"));
  EXPECT_FALSE(secrets.add("secret,file=" + path));
  EXPECT_FALSE(secrets.add("tls-creds-x509,id=a,file=" + path));
  EXPECT_FALSE(secrets.add("secret,id=a,file=" + path + ".not"));
  ASSERT_TRUE(secrets.add("secret,id=a,file=" + path));
  EXPECT_FALSE(secrets.add("secret,id=a,file=" + path));
}

TEST(ImgName, PathIsTakenAsItIs) {
  const auto name = parse_img_name("./nbd:/a,b=c", "qcow2", false);
  ASSERT_TRUE(name);
  EXPECT_EQ(name->path, "./nbd:/a,b=c");
  EXPECT_EQ(name->format, DiskFormat::kQcow2);
  EXPECT_FALSE(parse_img_name("x", "", false)->format.has_value());
}

TEST(ImgName, NodeOptionsNameDriverFileAndCache) {
  const auto name = parse_img_name(
      "driver=qcow2,file.driver=file,file.filename=a,,b.qcow2,read-only=on,cache.direct=on,"
      "encrypt.key-secret=sec0",
      "", true);
  ASSERT_TRUE(name) << name.error().message();
  EXPECT_EQ(name->path, "a,b.qcow2");
  EXPECT_EQ(name->format, DiskFormat::kQcow2);
  EXPECT_EQ(name->read_only, true);
  EXPECT_EQ(name->cache, CacheMode::kNone);
  ASSERT_EQ(name->encryption.size(), 1U);
  EXPECT_EQ(name->encryption[0].secret_id, "sec0");
}

TEST(ImgName, FileDriverIsRaw) {
  const auto name = parse_img_name("driver=file,filename=x", "", true);
  ASSERT_TRUE(name);
  EXPECT_EQ(name->path, "x");
  EXPECT_EQ(name->format, DiskFormat::kRaw);
}

TEST(ImgName, NbdDriverNamesAnExport) {
  const std::pair<const char*, const char*> cases[] = {
      {"driver=nbd,server.type=unix,server.path=/s,export=a b", "nbd+unix:///a%20b?socket=/s"},
      {"driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=::1,file.server.port=9,"
       "file.export=x",
       "nbd://[::1]:9/x"},
      {"driver=nbd,host=127.0.0.1", "nbd://127.0.0.1/"},
      {"driver=nbd,path=/s,read-only=on", "nbd+unix:///?socket=/s"},
  };
  for (const auto& [word, url] : cases) {
    const auto name = parse_img_name(word, "", true);
    ASSERT_TRUE(name) << name.error().message();
    EXPECT_EQ(name->path, url);
    EXPECT_EQ(name->format, DiskFormat::kRaw);
  }
}

TEST(ImgName, BadNodeOptionsAreRefused) {
  for (const char* word :
       {"driver=nbd", "driver=nbd,filename=x", "driver=file,filename=x,host=h",
        "driver=nbd,host=h,path=/s", "driver=nbd,server.type=unix,server.host=h",
        "driver=nbd,server.type=vsock", "driver=nbd,host=h,port=0", "x.qcow2", "driver=qcow2",
        "driver=vmdk,file.filename=x", "driver=qcow2,file.driver=nbd,file.filename=x",
        "file.filename=x,", "file.filename=x,frobnicate=1", "file.filename=x,read-only=maybe"})
    EXPECT_FALSE(parse_img_name(word, "", true)) << word;
  EXPECT_FALSE(parse_img_name("driver=qcow2,file.filename=x", "qcow2", true));
}

TEST(ImgProgress, PlainFormIsThatOfQemu) {
  ::testing::internal::CaptureStdout();
  {
    ImgProgress progress({.wanted = true, .form = "plain"}, false);
    progress.update(123, 1000);
    progress.update(124, 1000);  // too near
    progress.finish();
  }
  EXPECT_EQ(::testing::internal::GetCapturedStdout(),
            "    (0.00/100%)\r    (12.30/100%)\r    (100.00/100%)\r\n");
}

TEST(ImgProgress, JsonFormIsOneObjectALine) {
  ::testing::internal::CaptureStdout();
  {
    ImgProgress progress({.wanted = false, .form = "json"}, false);
    progress.update(1, 4);
  }
  EXPECT_EQ(::testing::internal::GetCapturedStdout(),
            "{\"percent\": 0.00}\n{\"percent\": 25.00, \"done\": 1, \"total\": 4}\n");
}

TEST(ImgProgress, QuietPrintsNothing) {
  ::testing::internal::CaptureStdout();
  {
    ImgProgress progress({.wanted = true, .form = "plain"}, true);
  }
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
}

TEST_F(ImgOptions, SecretsOfBackingFilesHaveTheirOwnWords) {
  const auto name = parse_img_name(
      "driver=qcow2,file.filename=a,backing.backing.encrypt.key-secret=low,encrypt.format=luks,"
      "encrypt.key-secret=top",
      "", true);
  ASSERT_TRUE(name) << name.error().message();
  ASSERT_EQ(name->encryption.size(), 3U);
  ImgSecrets secrets;
  EXPECT_FALSE(secrets.keys(name->encryption)) << "there are no such secrets";
  ASSERT_TRUE(secrets.add("secret,id=top,file=" + secret_file("1")));
  ASSERT_TRUE(secrets.add("secret,id=low,file=" + secret_file("2")));
  const auto keys = secrets.keys(name->encryption);
  ASSERT_TRUE(keys) << keys.error().message();
  EXPECT_EQ((*keys)[0].secret, secrets.find("top"));
  EXPECT_EQ((*keys)[0].encryption, blockcore::DiskEncryption::kLuks);
  EXPECT_EQ((*keys)[1].secret, nullptr);
  EXPECT_EQ((*keys)[2].secret, secrets.find("low"));
  EXPECT_EQ((*keys)[2].encryption, blockcore::DiskEncryption::kAny);
  EXPECT_FALSE(parse_img_name("driver=qcow2,file.filename=a,encrypt.format=md5", "", true));
  EXPECT_FALSE(parse_img_name("driver=qcow2,file.filename=a,backing.size=1", "", true));
}

}  // namespace
}  // namespace hull::cli
