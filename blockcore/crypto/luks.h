// LUKS version 1: the LUKS On-Disk Format Specification 1.2.3. The header holds the key of the
// volume, encrypted with keys that follow from passphrases; here it stands inside a qcow2 image.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "blockcore/crypto/key_derivation.h"
#include "blockcore/crypto/sector_cipher.h"
#include "blockcore/secret.h"

namespace hull::blockcore::crypto {

inline constexpr size_t kLuksHeaderBytes = 592;
inline constexpr size_t kLuksSlots = 8;
inline constexpr uint32_t kLuksStripes = 4000;
// Of all passphrases that are tried: a minute or two on a slow host, however the header lies.
inline constexpr uint64_t kMaxLuksIterations = 48'000'000;

struct LuksSlot {
  bool active = false;
  uint32_t iterations = 0;
  std::array<std::byte, 32> salt{};
  // Of the split key, from the start of the header. Only that of an active slot was checked.
  uint32_t first_sector = 0;
};

struct LuksHeader {
  CipherSpec cipher = {};
  HashKind hash = HashKind::kSha256;
  uint32_t payload_sector = 0;
  std::array<std::byte, 20> digest{};
  std::array<std::byte, 32> digest_salt{};
  uint32_t digest_iterations = 0;
  std::array<char, 40> uuid{};
  std::array<LuksSlot, kLuksSlots> slots{};

  uint64_t split_bytes() const { return uint64_t{kLuksStripes} * cipher.key_bytes(); }
  // Of PBKDF2, to try a passphrase on it.
  uint64_t iterations_of(const LuksSlot& slot) const {
    return uint64_t{slot.iterations} + digest_iterations;
  }
  // What a slot's split key occupies.
  uint64_t split_sectors() const { return (split_bytes() + 4095) / 4096 * 8; }
};

// `area_bytes`: room for header and keys. Every field is checked: kInvalidFormat names it,
// kUnsupported a cipher or hash that hull does not have, kOutOfRange iterations that would take too
// long with every key slot.
Result<LuksHeader> decode_luks(std::span<const std::byte> bytes, uint64_t area_bytes);
std::vector<std::byte> encode_luks(const LuksHeader& header);

// The key of the volume by way of one slot, whose split key (split_bytes() rounded up to sectors)
// is decrypted in place; nullopt if the passphrase is not this slot's. Takes as long as the slot's
// iterations say.
Result<std::optional<Secret>> open_luks_slot(const LuksHeader& header, const LuksSlot& slot,
                                             const Secret& passphrase, std::span<std::byte> split);

// The key slots in the order in which a passphrase is tried on them: the cheapest first, each at
// its own price, until kMaxLuksIterations are used up. `header` outlives it.
class LuksAttempts {
 public:
  explicit LuksAttempts(const LuksHeader& header);
  const LuksSlot* next();  // nullptr: no more
  // Why the passphrase has opened none of them.
  Error failure() const;

 private:
  const LuksHeader& header_;
  std::vector<const LuksSlot*> slots_;
  size_t tried_ = 0;
  uint64_t iterations_ = 0;
};

struct LuksCreateOptions {
  CipherSpec cipher = {};
  HashKind hash = HashKind::kSha256;
  uint32_t iteration_milliseconds = 2000;
};

// Of the area that create_luks() makes.
uint64_t luks_area_bytes(const LuksCreateOptions& options);

struct NewLuks {
  std::vector<std::byte> bytes;  // header and the first slot; what follows of the area is zeros
  uint64_t area_bytes = 0;
};

// A new volume with a random key that `passphrase` opens.
Result<NewLuks> create_luks(const LuksCreateOptions& options, const Secret& passphrase);

}  // namespace hull::blockcore::crypto
