#include "blockcore/crypto/sector_cipher.h"

#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <nettle/sha2.h>
#include <nettle/xts.h>

#include <cstring>
#include <new>

#include "base/check.h"
#include "base/endian.h"

namespace hull::blockcore::crypto {
namespace {

struct ModeName {
  CipherMode mode;
  std::string_view name;
};
constexpr ModeName kModes[] = {{CipherMode::kXtsPlain64, "xts-plain64"},
                               {CipherMode::kCbcPlain64, "cbc-plain64"},
                               {CipherMode::kCbcEssivSha256, "cbc-essiv:sha256"}};

// One AES key for both directions.
struct Aes128 {
  aes128_ctx encrypt;
  aes128_ctx decrypt;
};
struct Aes256 {
  aes256_ctx encrypt;
  aes256_ctx decrypt;
};
struct Xts128 {
  xts_aes128_key encrypt;
  xts_aes128_key decrypt;
};
struct Xts256 {
  xts_aes256_key encrypt;
  xts_aes256_key decrypt;
};

uint8_t* raw(std::byte* bytes) { return reinterpret_cast<uint8_t*>(bytes); }

// As cbc_decrypt() calls them.
void decrypt_aes128(const void* key, size_t length, uint8_t* to, const uint8_t* from) {
  aes128_decrypt(static_cast<const aes128_ctx*>(key), length, to, from);
}
void decrypt_aes256(const void* key, size_t length, uint8_t* to, const uint8_t* from) {
  aes256_decrypt(static_cast<const aes256_ctx*>(key), length, to, from);
}

}  // namespace

struct SectorCipher::Keys {
  union {
    Aes128 aes128;
    Aes256 aes256;
    Xts128 xts128;
    Xts256 xts256;
  };
  aes256_ctx essiv;
};

std::string_view CipherSpec::mode_name() const {
  for (const ModeName& one : kModes)
    if (one.mode == mode) return one.name;
  return {};
}

Result<CipherSpec> parse_cipher(std::string_view name, std::string_view mode, size_t key_bytes) {
  for (const ModeName& one : kModes) {
    if (name != "aes" || mode != one.name) continue;
    for (const uint32_t bits : {128U, 256U})
      if (const CipherSpec spec{bits, one.mode}; spec.key_bytes() == key_bytes) return spec;
  }
  return fail(ErrorKind::kUnsupported,
              "cipher {}-{} with a key of {} bytes: hull has AES with keys of 128 and 256 bits in "
              "modes xts-plain64, cbc-plain64 and cbc-essiv:sha256",
              name, mode, key_bytes);
}

SectorCipher::Keys& SectorCipher::keys() const {
  return *std::launder(reinterpret_cast<Keys*>(memory_.data()));
}

Result<SectorCipher> SectorCipher::create(const CipherSpec& spec, std::span<const std::byte> key) {
  CHECK(key.size() == spec.key_bytes());
  Secret memory = TRY(Secret::zeros(sizeof(Keys)));
  Keys& keys = *new (memory.data()) Keys;
  const auto* const bytes = reinterpret_cast<const uint8_t*>(key.data());
  const bool wide = spec.aes_bits == 256;
  if (spec.mode == CipherMode::kXtsPlain64 && wide) {
    xts_aes256_set_encrypt_key(&keys.xts256.encrypt, bytes);
    xts_aes256_set_decrypt_key(&keys.xts256.decrypt, bytes);
  } else if (spec.mode == CipherMode::kXtsPlain64) {
    xts_aes128_set_encrypt_key(&keys.xts128.encrypt, bytes);
    xts_aes128_set_decrypt_key(&keys.xts128.decrypt, bytes);
  } else if (wide) {
    aes256_set_encrypt_key(&keys.aes256.encrypt, bytes);
    aes256_set_decrypt_key(&keys.aes256.decrypt, bytes);
  } else {
    aes128_set_encrypt_key(&keys.aes128.encrypt, bytes);
    aes128_set_decrypt_key(&keys.aes128.decrypt, bytes);
  }
  if (spec.mode == CipherMode::kCbcEssivSha256) {
    sha256_ctx hash;
    Secret digest = TRY(Secret::zeros(SHA256_DIGEST_SIZE));
    sha256_init(&hash);
    sha256_update(&hash, key.size(), bytes);
    sha256_digest(&hash, digest.size_bytes(), digest.data());
    ::explicit_bzero(&hash, sizeof hash);
    aes256_set_encrypt_key(&keys.essiv, digest.data());
  }
  return SectorCipher(spec, std::move(memory));
}

void SectorCipher::make_iv(uint64_t sector, uint8_t* iv) const {
  const Le64 number = sector;
  std::memset(iv, 0, AES_BLOCK_SIZE);
  std::memcpy(iv, &number, sizeof number);
  if (spec_.mode == CipherMode::kCbcEssivSha256)
    aes256_encrypt(&keys().essiv, AES_BLOCK_SIZE, iv, iv);
}

void SectorCipher::encrypt(uint64_t sector, std::span<std::byte> data) const {
  CHECK(data.size() % kSectorBytes == 0);
  uint8_t iv[AES_BLOCK_SIZE];
  const bool wide = spec_.aes_bits == 256;
  for (; !data.empty(); data = data.subspan(kSectorBytes), ++sector) {
    uint8_t* const at = raw(data.data());
    make_iv(sector, iv);
    if (spec_.mode == CipherMode::kXtsPlain64 && wide)
      xts_aes256_encrypt_message(&keys().xts256.encrypt, iv, kSectorBytes, at, at);
    else if (spec_.mode == CipherMode::kXtsPlain64)
      xts_aes128_encrypt_message(&keys().xts128.encrypt, iv, kSectorBytes, at, at);
    else if (wide)
      cbc_aes256_encrypt(&keys().aes256.encrypt, iv, kSectorBytes, at, at);
    else
      cbc_aes128_encrypt(&keys().aes128.encrypt, iv, kSectorBytes, at, at);
  }
}

void SectorCipher::decrypt(uint64_t sector, std::span<std::byte> data) const {
  CHECK(data.size() % kSectorBytes == 0);
  uint8_t iv[AES_BLOCK_SIZE];
  const bool wide = spec_.aes_bits == 256;
  for (; !data.empty(); data = data.subspan(kSectorBytes), ++sector) {
    uint8_t* const at = raw(data.data());
    make_iv(sector, iv);
    if (spec_.mode == CipherMode::kXtsPlain64 && wide)
      xts_aes256_decrypt_message(&keys().xts256.decrypt, iv, kSectorBytes, at, at);
    else if (spec_.mode == CipherMode::kXtsPlain64)
      xts_aes128_decrypt_message(&keys().xts128.decrypt, iv, kSectorBytes, at, at);
    else if (wide)
      cbc_decrypt(&keys().aes256.decrypt, &decrypt_aes256, AES_BLOCK_SIZE, iv, kSectorBytes, at,
                  at);
    else
      cbc_decrypt(&keys().aes128.decrypt, &decrypt_aes128, AES_BLOCK_SIZE, iv, kSectorBytes, at,
                  at);
  }
}

}  // namespace hull::blockcore::crypto
