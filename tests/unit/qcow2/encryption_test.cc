// Encrypted qcow2 images: hull's and qemu-img's, each read by the other.
#include "blockcore/qcow2/format/encryption.h"

#include <gtest/gtest.h>

#include "blockcore/qcow2/check/check.h"
#include "tests/support/disk_trace.h"
#include "tests/support/faulty_file.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::DiskTrace;
using testing::MemoryFile;
using testing::run_now;
using testing::ShuffledFile;
using testing::ShuffleQueue;

constexpr uint64_t kSize = 2 << 20;

std::shared_ptr<const Secret> secret_of(std::string_view text) {
  auto secret = Secret::copy(std::as_bytes(std::span(text.data(), text.size())));
  return std::make_shared<const Secret>(*std::move(secret));
}

Qcow2CreateOptions encrypted(Qcow2CreateOptions options = {}) {
  options.size_bytes = kSize;
  options.encryption = Qcow2Encryption{{.iteration_milliseconds = 1}, secret_of("open sesame")};
  return options;
}
Qcow2Options with(std::string_view secret, bool read_only = false) {
  return {.read_only = read_only, .l2_cache_bytes = 16384, .secret = secret_of(secret)};
}

TEST(Qcow2Encryption, DataReadsBackAndIsNotInTheFile) {
  auto file = std::make_unique<MemoryFile>(testing::make_qcow2(encrypted()));
  MemoryFile& memory = *file;
  auto disk = testing::open_qcow2(std::move(file), with("open sesame"));
  ASSERT_TRUE(disk) << disk.error().message();
  const Bytes data(5000, 0x5a);
  ASSERT_TRUE(testing::write_disk(**disk, 65536 - 1000, data));
  ASSERT_TRUE(testing::write_disk(**disk, 65536 * 3, Bytes(100, 0x5a)));
  ASSERT_TRUE(run_now((*disk)->close()));
  const Bytes needle(64, 0x5a);
  EXPECT_TRUE(std::ranges::search(memory.bytes(), needle).empty());
  auto again = testing::open_qcow2(memory.bytes(), with("open sesame", true));
  ASSERT_TRUE(again) << again.error().message();
  Bytes expected(kSize);
  std::fill_n(expected.begin() + 65536 - 1000, 5000, uint8_t{0x5a});
  std::fill_n(expected.begin() + 65536 * 3, 100, uint8_t{0x5a});
  EXPECT_TRUE(*testing::read_disk(**again) == expected);
}

TEST(Qcow2Encryption, WithoutTheRightSecretItStaysShut) {
  const Bytes image = testing::make_qcow2(encrypted());
  const auto wrong = testing::open_qcow2(image, with("open says me"));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().kind(), ErrorKind::kInvalidConfig);
  EXPECT_NE(wrong.error().message().find("key slots"), std::string::npos);
  const auto none = testing::open_qcow2(image);
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message().find("LUKS"), std::string::npos);
  const auto metadata = testing::open_qcow2(image, {.metadata_only = true});
  ASSERT_TRUE(metadata) << metadata.error().message();
  ASSERT_TRUE(testing::read_disk(**metadata, 0, 512)) << "unallocated: no data";
  EXPECT_FALSE(testing::write_disk(**metadata, 0, Bytes(512, 1)));
  ASSERT_TRUE(run_now((*metadata)->close()));
}

TEST(Qcow2Encryption, PreallocationIsRefused) {
  MemoryFile file;
  Qcow2CreateOptions options = encrypted();
  options.preallocation = Preallocation::kMetadata;
  const auto made = run_now(create_qcow2(file, options));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind(), ErrorKind::kInvalidConfig);
}

TEST(Qcow2Encryption, LostOrLyingHeaderPointerIsRefused) {
  const Bytes image = testing::make_qcow2(encrypted());
  // The extension's type in big endian, then its length, offset and length.
  const Bytes type = {0x05, 0x37, 0xbe, 0x77};
  const auto found = std::ranges::search(image, type);
  ASSERT_FALSE(found.empty());
  const auto at = static_cast<size_t>(found.begin() - image.begin());
  const std::pair<size_t, uint8_t> lies[] = {{0, 1},  {7, 8},  {8, 0xff},
                                             {15, 1}, {13, 0}, {16, 0x80}};
  for (const auto& [byte, value] : lies) {
    SCOPED_TRACE(byte);
    Bytes lying = image;
    lying[at + byte] = value;
    if (byte == 13) std::fill_n(lying.begin() + static_cast<ptrdiff_t>(at) + 8, 8, uint8_t{0});
    const auto disk = testing::open_qcow2(lying, with("open sesame"));
    ASSERT_FALSE(disk);
    EXPECT_EQ(disk.error().kind(), ErrorKind::kInvalidFormat) << disk.error().message();
  }
}

// Traces with several requests in flight, of any alignment, as in model_test.cc.
class EncryptedModel : public ::testing::TestWithParam<Qcow2CreateOptions> {};

TEST_P(EncryptedModel, RandomTraceMatchesModel) {
  std::mt19937 random(5);
  Bytes image = testing::make_qcow2(encrypted(GetParam()));
  Bytes model(kSize);
  for (unsigned round = 0; round < 3; ++round) {
    ShuffleQueue queue;
    auto file = std::make_unique<MemoryFile>(image);
    MemoryFile& memory = *file;
    std::unique_ptr<Qcow2Disk> disk;
    start_detached([](std::unique_ptr<File> opened, std::unique_ptr<Qcow2Disk>& out) -> Task<void> {
      Qcow2Options options = with("open sesame");
      out = *co_await Qcow2Disk::open(std::move(opened), std::move(options));
    }(std::make_unique<ShuffledFile>(std::move(file), queue), disk));
    while (!queue.empty()) queue.resume(0);
    ASSERT_NE(disk, nullptr);
    DiskTrace trace(*disk, model, queue, random);
    ASSERT_EQ(trace.verify(), "");
    ASSERT_EQ(trace.run(60, 1 + round * 5), "");
    ASSERT_EQ(trace.verify(), "");
    bool closed = false;
    start_detached([](Disk& target, bool& out) -> Task<void> {
      out = (co_await target.close()).has_value();
    }(*disk, closed));
    while (!queue.empty()) queue.resume(0);
    ASSERT_TRUE(closed);
    image = memory.bytes();
  }
  MemoryFile file(image);
  const auto header = run_now(qcow2::ImageHeader::read(file));
  const auto checked = run_now(qcow2::check_image(file, **header));
  ASSERT_TRUE(checked);
  EXPECT_EQ(checked->findings.corruptions + checked->leaks, 0U) << checked->findings.messages[0];
}
INSTANTIATE_TEST_SUITE_P(Geometries, EncryptedModel,
                         ::testing::Values(Qcow2CreateOptions{.cluster_bits = 9},
                                           Qcow2CreateOptions{.version = 2, .cluster_bits = 12},
                                           Qcow2CreateOptions{.cluster_bits = 16},
                                           Qcow2CreateOptions{.cluster_bits = 16,
                                                              .extended_l2 = true}));

constexpr std::string_view kQemuKey = "secret of the test";

struct Variant {
  crypto::CipherSpec cipher = {};
  crypto::HashKind hash = crypto::HashKind::kSha256;
  uint32_t cluster_bits = 16;
  bool extended_l2 = false;
};
void PrintTo(const Variant& variant, std::ostream* out) {
  *out << variant.cipher.aes_bits << "-" << variant.cipher.mode_name();
}

// Images are made by hull: qemu-img gives up making one when the processor is busy.
class EncryptionWithQemu : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    testing::save_file(directory_ / "key", Bytes(kQemuKey.begin(), kQemuKey.end()));
    std::mt19937 random(9);
    contents_.resize(kSize);
    for (uint8_t& byte : contents_) byte = static_cast<uint8_t>(random());
    std::fill_n(contents_.begin() + 300000, 500000, uint8_t{0});
    testing::save_file(directory_ / "raw", contents_);
  }
  void run(const std::string& command) const {
    const auto result = testing::run_command("cd " + directory_.path() + " && " + command);
    ASSERT_EQ(result.exit_code, 0) << command << ": " << result.output;
  }
  // qemu-img fills `image`, which is there.
  void fill() const {
    run(std::string("qemu-img convert -n") + kSecret + "-f raw raw --target-image-opts " + kNode);
  }
  // qemu-img finds no error in `image`, and in it what `raw` holds.
  void check_and_compare() const {
    run(std::string("qemu-img check") + kSecret + "--image-opts " + kNode);
    run(std::string("qemu-img compare") + kSecret + "--image-opts " + kNode +
        " driver=raw,file.filename=raw");
  }
  static constexpr const char* kSecret = " --object secret,id=s,file=key ";
  static constexpr const char* kNode = "driver=qcow2,encrypt.key-secret=s,file.filename=image";

  const testing::TemporaryDirectory directory_;
  Bytes contents_;
};

TEST_P(EncryptionWithQemu, ReadsWhatQemuWroteAndIsReadByIt) {
  Qcow2CreateOptions options{.size_bytes = kSize,
                             .cluster_bits = GetParam().cluster_bits,
                             .extended_l2 = GetParam().extended_l2};
  options.encryption =
      Qcow2Encryption{{GetParam().cipher, GetParam().hash, 1}, secret_of(kQemuKey)};
  testing::save_file(directory_ / "image", testing::make_qcow2(options));
  ASSERT_NO_FATAL_FAILURE(fill());
  auto file = std::make_unique<MemoryFile>(testing::load_file(directory_ / "image"));
  MemoryFile& memory = *file;
  auto disk = testing::open_qcow2(std::move(file), with(kQemuKey));
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_TRUE(*testing::read_disk(**disk) == contents_);
  const Bytes data(70001, 0x77);
  ASSERT_TRUE(testing::write_disk(**disk, 1234567, data));
  ASSERT_TRUE(testing::write_disk(**disk, 400100, Bytes(700, 0x78)));
  ASSERT_TRUE(run_now((*disk)->close()));
  std::ranges::copy(data, contents_.begin() + 1234567);
  std::fill_n(contents_.begin() + 400100, 700, uint8_t{0x78});
  testing::save_file(directory_ / "image", memory.bytes());
  testing::save_file(directory_ / "raw", contents_);
  check_and_compare();
}
INSTANTIATE_TEST_SUITE_P(
    Ciphers, EncryptionWithQemu,
    ::testing::Values(
        Variant{{256, crypto::CipherMode::kXtsPlain64}, crypto::HashKind::kSha256, 16, true},
        Variant{{128, crypto::CipherMode::kXtsPlain64}, crypto::HashKind::kSha1, 12, false},
        Variant{{256, crypto::CipherMode::kCbcEssivSha256}, crypto::HashKind::kSha512, 16, false},
        Variant{{128, crypto::CipherMode::kCbcPlain64}, crypto::HashKind::kSha256, 9, false}));

class OldAesEncryption : public EncryptionWithQemu {};

TEST_P(OldAesEncryption, IsReadAndNotWritten) {
  run(std::string("qemu-img create -q -f qcow2") + kSecret +
      "-o encrypt.format=aes,encrypt.key-secret=s image 2M");
  ASSERT_NO_FATAL_FAILURE(fill());
  const Bytes image = testing::load_file(directory_ / "image");
  const auto disk = testing::open_qcow2(image, with(kQemuKey, true));
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_TRUE(*testing::read_disk(**disk) == contents_);
  EXPECT_TRUE(*testing::read_disk(**disk, 1001, 3000) ==
              Bytes(contents_.begin() + 1001, contents_.begin() + 4001));
  EXPECT_FALSE(testing::open_qcow2(image, with(kQemuKey)));
}
INSTANTIATE_TEST_SUITE_P(Aes, OldAesEncryption, ::testing::Values(Variant{}));

}  // namespace
}  // namespace hull::blockcore
