#include "blockcore/crypto/luks.h"

#include <gtest/gtest.h>

#include <cstring>

namespace hull::blockcore::crypto {
namespace {

constexpr uint64_t kAreaBytes = 4 << 20;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
Secret secret_of(std::string_view text) { return *Secret::copy(bytes_of(text)); }

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte one : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(one));
  return text;
}

// RFC 6070; for the other hashes as OpenSSL has it.
TEST(KeyDerivation, Pbkdf2GivesThePublishedKeys) {
  const std::pair<HashKind, std::string_view> expected[] = {
      {HashKind::kSha1, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"},
      {HashKind::kSha256, "ae4d0c95af6b46d32d0adff928f06dd02a303f8e"},
      {HashKind::kSha512, "e1d9c16aa681708a45f5c7c4e215ceb66e011a2e"}};
  for (const auto& [hash, text] : expected) {
    std::array<std::byte, 20> key{};
    derive_key(hash, bytes_of("password"), bytes_of("salt"), 2, key);
    EXPECT_EQ(hex(key), text) << hash_name(hash);
  }
}

TEST(KeyDerivation, SplitKeyMergesAndOneLostByteLosesIt) {
  for (const HashKind hash : {HashKind::kSha1, HashKind::kSha256, HashKind::kSha512}) {
    const Secret key =
        secret_of("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    std::vector<std::byte> split(key.size_bytes() * 100);
    ASSERT_TRUE(af_split(hash, key.bytes(), split));
    std::vector<std::byte> merged(key.size_bytes());
    ASSERT_TRUE(af_merge(hash, split, merged));
    EXPECT_TRUE(std::ranges::equal(merged, key.bytes()));
    split[5] ^= std::byte{1};
    ASSERT_TRUE(af_merge(hash, split, merged));
    EXPECT_FALSE(std::ranges::equal(merged, key.bytes()));
  }
}

class CipherModes : public ::testing::TestWithParam<CipherSpec> {};

TEST_P(CipherModes, SectorsComeBackAndDependOnTheirNumber) {
  std::vector<std::byte> key(GetParam().key_bytes());
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i * 7);
  const auto cipher = SectorCipher::create(GetParam(), key);
  ASSERT_TRUE(cipher);
  const std::vector<std::byte> plain(4 * kSectorBytes, std::byte{0x5a});
  std::vector<std::byte> data = plain;
  cipher->encrypt(uint64_t{1} << 33, data);
  EXPECT_NE(data, plain);
  EXPECT_NE(std::memcmp(data.data(), data.data() + kSectorBytes, kSectorBytes), 0);
  std::vector<std::byte> second(data.begin() + kSectorBytes, data.begin() + 2 * kSectorBytes);
  cipher->decrypt((uint64_t{1} << 33) + 1, second);
  EXPECT_EQ(second, std::vector<std::byte>(kSectorBytes, std::byte{0x5a}));
  cipher->decrypt(uint64_t{1} << 33, data);
  EXPECT_EQ(data, plain);
}
INSTANTIATE_TEST_SUITE_P(Aes, CipherModes,
                         ::testing::Values(CipherSpec{128, CipherMode::kXtsPlain64},
                                           CipherSpec{256, CipherMode::kXtsPlain64},
                                           CipherSpec{128, CipherMode::kCbcPlain64},
                                           CipherSpec{256, CipherMode::kCbcPlain64},
                                           CipherSpec{128, CipherMode::kCbcEssivSha256},
                                           CipherSpec{256, CipherMode::kCbcEssivSha256}));

std::vector<std::byte> sample_header() {
  const auto made = create_luks({.iteration_milliseconds = 1}, secret_of("open"));
  return {made->bytes.begin(), made->bytes.begin() + kLuksHeaderBytes};
}

TEST(Luks, NewVolumeOpensWithItsSecretAlone) {
  const auto made = create_luks({.iteration_milliseconds = 1}, secret_of("open"));
  ASSERT_TRUE(made) << made.error().message();
  const auto header = decode_luks(made->bytes, made->area_bytes);
  ASSERT_TRUE(header) << header.error().message();
  const LuksSlot& slot = header->slots[0];
  const auto first = made->bytes.begin() + static_cast<ptrdiff_t>(slot.first_sector * kSectorBytes);
  std::vector<std::byte> split(first, made->bytes.end());
  const auto wrong = open_luks_slot(*header, slot, secret_of("Open"), split);
  ASSERT_TRUE(wrong);
  EXPECT_FALSE(*wrong);
  split.assign(first, made->bytes.end());
  const auto right = open_luks_slot(*header, slot, secret_of("open"), split);
  ASSERT_TRUE(right);
  EXPECT_TRUE(*right);
}

struct Lie {
  const char* words;
  size_t offset;
  std::vector<int> bytes;
  ErrorKind kind;
};
void PrintTo(const Lie& lie, std::ostream* out) { *out << lie.words << " at " << lie.offset; }

class LyingLuks : public ::testing::TestWithParam<Lie> {};

TEST_P(LyingLuks, IsRefusedByName) {
  std::vector<std::byte> header = sample_header();
  for (size_t i = 0; i < GetParam().bytes.size(); ++i)
    header[GetParam().offset + i] = static_cast<std::byte>(GetParam().bytes[i]);
  const auto decoded = decode_luks(header, kAreaBytes);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().kind(), GetParam().kind) << decoded.error().message();
  EXPECT_NE(decoded.error().message().find(GetParam().words), std::string::npos)
      << decoded.error().message();
  EXPECT_EQ(decoded.error().message().find('\n'), std::string::npos);
}
constexpr auto kFormat = ErrorKind::kInvalidFormat;
constexpr auto kMissing = ErrorKind::kUnsupported;
INSTANTIATE_TEST_SUITE_P(
    Fields, LyingLuks,
    ::testing::Values(Lie{"magic", 0, {'l'}, kFormat}, Lie{"version", 6, {0, 2}, kMissing},
                      Lie{"cipher twofish", 8, {'t', 'w', 'o', 'f', 'i', 's', 'h', 0}, kMissing},
                      Lie{"aes-x?s-plain64", 41, {'\n'}, kMissing},
                      Lie{"xts-plain", 49, {0}, kMissing}, Lie{"hash sha25", 77, {0}, kMissing},
                      Lie{"key of 48", 108, {0, 0, 0, 48}, kMissing},
                      Lie{"key of 4294967295", 108, {255, 255, 255, 255}, kMissing},
                      Lie{"mk-digest-iter", 164, {0, 0, 0, 0}, kFormat},
                      Lie{"iterations", 164, {255, 0, 0, 0}, ErrorKind::kOutOfRange},
                      Lie{"active", 208, {1}, kFormat},
                      Lie{"iterations", 212, {0, 0, 0, 0}, kFormat},
                      Lie{"iterations", 212, {255, 255, 255, 255}, ErrorKind::kOutOfRange},
                      Lie{"key-material-offset", 248, {0, 0, 0, 0}, kFormat},
                      Lie{"key-material-offset", 248, {255, 255, 255, 255}, kFormat},
                      Lie{"key-material-offset", 248, {0, 0, 0x20, 0}, kFormat},
                      Lie{"stripes", 252, {0, 0, 0, 0}, kFormat},
                      Lie{"stripes", 252, {255, 255, 255, 255}, kFormat}));

// Each slot costs what it costs, when it is tried; others cost nothing.
TEST(Luks, SlotsAreChargedAsTheyAreTried) {
  LuksHeader header = *decode_luks(sample_header(), kAreaBytes);
  header.digest_iterations = 1000;
  const uint32_t iterations[] = {25'000'000, 470'000, 0, 25'000'000, 1'000'000};
  for (size_t i = 0; i < std::size(iterations); ++i) {
    header.slots[i].active = iterations[i] != 0;
    header.slots[i].iterations = iterations[i];
    header.slots[i].first_sector = header.slots[0].first_sector;
  }
  const auto again = decode_luks(encode_luks(header), kAreaBytes);
  ASSERT_TRUE(again) << again.error().message();
  LuksAttempts attempts(*again);
  EXPECT_EQ(attempts.next(), &again->slots[1]);
  EXPECT_EQ(attempts.next(), &again->slots[4]);
  const LuksSlot* const third = attempts.next();
  EXPECT_TRUE(third == &again->slots[0] || third == &again->slots[3]);
  EXPECT_EQ(attempts.next(), nullptr) << "51 million iterations";
  EXPECT_EQ(attempts.failure().kind(), ErrorKind::kOutOfRange);
  header.slots[0].active = header.slots[3].active = false;
  LuksAttempts cheap(header);
  while (cheap.next() != nullptr) {
  }
  EXPECT_EQ(cheap.failure().kind(), ErrorKind::kInvalidConfig);
}

TEST(Luks, CutOffAnywhereIsAnError) {
  const std::vector<std::byte> header = sample_header();
  for (size_t length = 0; length < header.size(); ++length)
    EXPECT_FALSE(decode_luks(std::span(header).first(length), kAreaBytes)) << length;
  EXPECT_FALSE(decode_luks(header, 4096)) << "no room for the keys";
}

TEST(Secret, FileWithTooMuchIsRefusedAndMissingOneNamed) {
  const auto missing = Secret::read_file("/nonexistent/key");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message().find("/nonexistent/key"), std::string::npos);
  const auto endless = Secret::read_file("/dev/zero");
  ASSERT_FALSE(endless);
  EXPECT_EQ(endless.error().kind(), ErrorKind::kOutOfRange);
}

}  // namespace
}  // namespace hull::blockcore::crypto
