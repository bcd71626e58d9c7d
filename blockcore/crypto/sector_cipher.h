// Encryption of disk sectors of 512 bytes with AES, each with an IV that follows from its number:
// the LUKS1 on-disk format, "cipher-mode"; dm-crypt's plain64 and essiv. The cipher itself is
// nettle's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "blockcore/secret.h"

namespace hull::blockcore::crypto {

inline constexpr uint64_t kSectorBytes = 512;

enum class CipherMode : uint8_t { kXtsPlain64, kCbcPlain64, kCbcEssivSha256 };

struct CipherSpec {
  uint32_t aes_bits = 256;  // 128 or 256
  CipherMode mode = CipherMode::kXtsPlain64;

  // XTS has two AES keys.
  size_t key_bytes() const { return aes_bits / 8 * (mode == CipherMode::kXtsPlain64 ? 2 : 1); }
  // As LUKS has it: "xts-plain64".
  std::string_view mode_name() const;
  friend bool operator==(const CipherSpec&, const CipherSpec&) = default;
};

// kUnsupported, naming the cipher, for all that hull does not have.
Result<CipherSpec> parse_cipher(std::string_view name, std::string_view mode, size_t key_bytes);

class SectorCipher {
 public:
  // `key` has spec.key_bytes().
  static Result<SectorCipher> create(const CipherSpec& spec, std::span<const std::byte> key);

  // In place; `data` is a whole number of sectors, of which the first has number `sector`. Never
  // on memory that a guest can see.
  void encrypt(uint64_t sector, std::span<std::byte> data) const;
  void decrypt(uint64_t sector, std::span<std::byte> data) const;

 private:
  struct Keys;
  SectorCipher(const CipherSpec& spec, Secret memory) : spec_(spec), memory_(std::move(memory)) {}
  Keys& keys() const;
  void make_iv(uint64_t sector, uint8_t* iv) const;

  CipherSpec spec_;
  Secret memory_;  // Keys
};

}  // namespace hull::blockcore::crypto
