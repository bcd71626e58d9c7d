// Chains of encrypted images: whose secret opens what, and what the overlay of a transient disk
// tells.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "base/endian.h"
#include "blockcore/file/local_file.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/edit/create.h"
#include "tests/support/refused_threads.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

constexpr uint64_t kSize = 1 << 20;

std::shared_ptr<const Secret> secret_of(std::string_view text) {
  auto secret = Secret::copy(std::as_bytes(std::span(text.data(), text.size())));
  return std::make_shared<const Secret>(*std::move(secret));
}

class OpenEncrypted : public ::testing::Test {
 protected:
  // `secret` empty: not encrypted.
  std::string make(const std::string& name, const std::string& secret,
                   const std::string& backing = "") {
    const std::string path = directory_ / name;
    Qcow2CreateOptions options{.size_bytes = kSize};
    options.backing_name = backing;
    if (!backing.empty()) options.backing_format = "qcow2";
    if (!secret.empty())
      options.encryption =
          Qcow2Encryption{.luks = {.iteration_milliseconds = 1}, .secret = secret_of(secret)};
    auto file = LocalFile::open(*engine_, path, {.create = true}).value();
    const auto made = engine_->run_until_done(create_qcow2(*file, std::move(options)));
    EXPECT_TRUE(made) << made.error().message();
    return path;
  }
  Result<std::unique_ptr<Disk>> open(OpenOptions options) {
    options.format = DiskFormat::kQcow2;
    return engine_->run_until_done(open_disk(*engine_, std::move(options)));
  }
  void fill(Disk& disk, uint64_t offset, uint8_t value) {
    std::vector<uint8_t> data(4096, value);
    const iovec buffer{data.data(), data.size()};
    ASSERT_TRUE(engine_->run_until_done(disk.write(offset, {&buffer, 1})));
  }
  uint8_t byte_at(Disk& disk, uint64_t offset) {
    uint8_t byte = 0;
    const iovec buffer{&byte, 1};
    EXPECT_TRUE(engine_->run_until_done(disk.read(offset, {&buffer, 1})));
    return byte;
  }
  void close(Disk& disk) { EXPECT_TRUE(engine_->run_until_done(disk.close())); }
  // An encrypted image over another one, with another secret.
  std::string make_chain() {
    const std::string low = make("low", "low secret");
    {
      const auto disk = open({.path = low, .keys = {{.secret = secret_of("low secret")}}}).value();
      fill(*disk, 0, 0x11);
      close(*disk);
    }
    return make("top", "top secret", "low");
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<IoEngine> engine_ = IoEngine::create().value();
};

// The key takes a few hundred thousand rounds; an engine that had to wait for them would make the
// few turns of the I/O beside it.
TEST_F(OpenEncrypted, EngineGoesOnWhileAKeyIsDerived) {
  const std::string path = make("slow", "secret");
  {
    const UniqueFd file = open_file(path, O_RDWR).value();
    std::vector<char> image(kSize);
    const ssize_t got = ::pread(file.get(), image.data(), image.size(), 0);
    ASSERT_GT(got, 0);
    const std::string_view bytes(image.data(), static_cast<size_t>(got));
    const size_t luks = bytes.find("LUKS\xba\xbe");
    ASSERT_NE(luks, std::string_view::npos);
    const Be32 iterations = 500'000;  // of the first slot: another key, as it happens
    ASSERT_EQ(::pwrite(file.get(), &iterations, 4, static_cast<off_t>(luks + 212)), 4);
  }
  unsigned turns = 0;
  bool opened = false;
  const std::function<void()> turn = [&] {
    ++turns;
    if (!opened) engine_->post(turn);
  };
  engine_->post(turn);
  const auto disk = open({.path = path, .keys = {{.secret = secret_of("secret")}}});
  opened = true;
  EXPECT_FALSE(disk) << "not the key";
  EXPECT_GT(turns, 1000U);
}

TEST_F(OpenEncrypted, KeyIsDerivedWhereTheHostRefusesThreads) {
  const std::string path = make("image", "secret");
  const testing::RefusedThreads refused;
  const auto disk = open({.path = path, .keys = {{.secret = secret_of("secret")}}});
  ASSERT_TRUE(disk) << disk.error().message();
  close(**disk);
}

TEST_F(OpenEncrypted, EachImageOfAChainHasItsOwnSecret) {
  const std::string top = make_chain();
  const ImageKeys keys = {{.secret = secret_of("top secret")}, {.secret = secret_of("low secret")}};
  {
    const auto disk = open({.path = top, .keys = keys}).value();
    fill(*disk, 8192, 0x22);
    close(*disk);
  }
  const auto disk = open({.path = top, .read_only = true, .keys = keys}).value();
  EXPECT_EQ(byte_at(*disk, 0), 0x11);
  EXPECT_EQ(byte_at(*disk, 8192), 0x22);
}

TEST_F(OpenEncrypted, ExplicitBackingFilesBringTheirKeys) {
  const std::string top = make_chain();
  const BackingLevel low{.path = directory_ / "low",
                         .format = DiskFormat::kQcow2,
                         .key = {.secret = secret_of("low secret")}};
  const auto disk = open({.path = top,
                          .backing = {{low}},
                          .read_only = true,
                          .keys = {{.secret = secret_of("top secret")}}});
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_EQ(byte_at(**disk, 0), 0x11);
}

TEST_F(OpenEncrypted, MissingAndWrongSecretsNameTheFile) {
  const std::string top = make_chain();
  const auto missing = open({.path = top, .keys = {{.secret = secret_of("top secret")}}});
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message().find((directory_ / "low") + ":"), std::string::npos)
      << missing.error().message();
  EXPECT_NE(missing.error().message().find("encrypt.key-secret"), std::string::npos);
  const auto wrong = open({.path = top, .keys = {{.secret = secret_of("low secret")}}});
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message().find(top + ":"), std::string::npos) << wrong.error().message();
}

TEST_F(OpenEncrypted, WhoAsksForEncryptionGetsIt) {
  const std::string plain = make("plain", "");
  const ImageKeys luks = {{.secret = secret_of("x"), .encryption = DiskEncryption::kLuks}};
  const auto disk = open({.path = plain, .keys = luks});
  ASSERT_FALSE(disk);
  EXPECT_NE(disk.error().message().find("No encryption in image header"), std::string::npos);
  const std::string encrypted = make("encrypted", "x");
  EXPECT_TRUE(open({.path = encrypted, .keys = luks}));
  EXPECT_FALSE(open({.path = encrypted,
                     .keys = {{.secret = secret_of("x"), .encryption = DiskEncryption::kAes}}}));
}

TEST_F(OpenEncrypted, MetadataAloneNeedsNoSecret) {
  const auto disk = open({.path = make_chain(), .read_only = true, .metadata_only = true});
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_EQ((*disk)->size_bytes(), kSize);
}

// The overlay has no name; the test finds it among the process's descriptors.
std::vector<uint8_t> deleted_file_in(const std::string& directory) {
  std::vector<uint8_t> contents;
  for (int fd = 3; fd < 200; ++fd) {
    std::error_code ignored;
    const auto name =
        std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), ignored).string();
    struct stat facts{};
    if (!name.starts_with(directory) || ::fstat(fd, &facts) != 0 || facts.st_nlink != 0) continue;
    contents.resize(static_cast<size_t>(facts.st_size));
    EXPECT_EQ(::pread(fd, contents.data(), contents.size(), 0),
              static_cast<ssize_t>(contents.size()));
  }
  return contents;
}

TEST_F(OpenEncrypted, TransientOverlayIsEncryptedToo) {
  ASSERT_EQ(::setenv("TMPDIR", directory_.path().c_str(), 1), 0);
  for (const bool encrypted : {false, true}) {
    const std::string path = make(encrypted ? "sealed" : "open", encrypted ? "x" : "");
    OpenOptions options{.path = path, .transient = true};
    if (encrypted) options.keys = {{.secret = secret_of("x")}};
    const auto disk = open(options);
    ASSERT_TRUE(disk) << disk.error().message();
    fill(**disk, 1000, 0x5a);
    EXPECT_EQ(byte_at(**disk, 1000), 0x5a);
    EXPECT_EQ(byte_at(**disk, 999), 0);
    ASSERT_TRUE(engine_->run_until_done((*disk)->flush()));
    const std::vector<uint8_t> overlay = deleted_file_in(directory_.path());
    ASSERT_FALSE(overlay.empty());
    const std::vector<uint8_t> needle(64, 0x5a);
    EXPECT_EQ(std::ranges::search(overlay, needle).empty(), encrypted);
    close(**disk);
  }
  ::unsetenv("TMPDIR");
}

}  // namespace
}  // namespace hull::blockcore
