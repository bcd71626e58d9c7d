#include "blockcore/crypto/luks.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/check.h"
#include "base/checked.h"
#include "base/endian.h"

namespace hull::blockcore::crypto {
namespace {

constexpr std::array<unsigned char, 6> kMagic = {'L', 'U', 'K', 'S', 0xba, 0xbe};
constexpr uint32_t kSlotActive = 0x00ac71f3;
constexpr uint32_t kSlotUnused = 0x0000dead;
constexpr uint32_t kFirstSlotSector = 8;
constexpr uint32_t kMinIterations = 1000;

struct SlotLayout {
  Be32 active;                     // 0
  Be32 iterations;                 // 4
  std::array<std::byte, 32> salt;  // 8
  Be32 first_sector;               // 40
  Be32 stripes;                    // 44
};
static_assert(sizeof(SlotLayout) == 48 && alignof(SlotLayout) == 1);

struct LuksLayout {
  std::array<unsigned char, 6> magic;     // 0
  Be16 version;                           // 6
  std::array<char, 32> cipher_name;       // 8
  std::array<char, 32> cipher_mode;       // 40
  std::array<char, 32> hash;              // 72
  Be32 payload_sector;                    // 104
  Be32 key_bytes;                         // 108
  std::array<std::byte, 20> digest;       // 112
  std::array<std::byte, 32> digest_salt;  // 132
  Be32 digest_iterations;                 // 164
  std::array<char, 40> uuid;              // 168
  std::array<SlotLayout, 8> slots;        // 208
};
static_assert(sizeof(LuksLayout) == kLuksHeaderBytes && alignof(LuksLayout) == 1);
static_assert(offsetof(LuksLayout, slots) == 208);

// Text of a field, in which anything may stand.
template <size_t N>
std::string text_of(const std::array<char, N>& field) {
  std::string text(field.data(), ::strnlen(field.data(), N));
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

template <size_t N>
void put_text(std::array<char, N>& field, std::string_view text) {
  CHECK(text.size() < N);
  std::ranges::copy(text, field.begin());
}

std::unexpected<Error> bad_field(std::string_view field, size_t byte, uint64_t value) {
  return fail(ErrorKind::kInvalidFormat, "LUKS header: {} (byte {}) is {:#x}", field, byte, value);
}

Result<void> decode_slot(const SlotLayout& raw, size_t index, uint64_t area_bytes,
                         LuksHeader& header) {
  const size_t byte = offsetof(LuksLayout, slots) + index * sizeof raw;
  LuksSlot& slot = header.slots[index];
  if (raw.active != kSlotActive && raw.active != kSlotUnused)
    return bad_field("active of a key slot", byte, raw.active);
  slot.active = raw.active == kSlotActive;
  slot.first_sector = raw.first_sector;
  if (!slot.active) return {};
  slot.iterations = raw.iterations;
  slot.salt = raw.salt;
  if (slot.iterations == 0) return bad_field("iterations of a key slot", byte + 4, 0);
  if (raw.stripes != kLuksStripes)
    return bad_field("stripes of a key slot", byte + 44, raw.stripes);
  const uint64_t offset = uint64_t{slot.first_sector} * kSectorBytes;
  if (offset < kLuksHeaderBytes ||
      !range_fits(offset, header.split_sectors() * kSectorBytes, area_bytes))
    return bad_field("key-material-offset of a key slot", byte + 40, slot.first_sector);
  return {};
}

std::unexpected<Error> too_many_iterations(std::string_view what, uint64_t iterations) {
  return fail(ErrorKind::kOutOfRange,
              "LUKS header: trying the passphrase on {} needs {} iterations of PBKDF2; hull does "
              "at most {} in all",
              what, iterations, kMaxLuksIterations);
}

// At least one key slot can be tried.
Result<void> check_iterations(const LuksHeader& header) {
  uint64_t least = header.digest_iterations;
  bool any = false;
  for (const LuksSlot& slot : header.slots) {
    if (!slot.active) continue;
    least = any ? std::min(least, header.iterations_of(slot)) : header.iterations_of(slot);
    any = true;
  }
  if (least > kMaxLuksIterations) return too_many_iterations("a key slot", least);
  return {};
}

Result<void> make_uuid(std::array<char, 40>& uuid) {
  std::array<std::byte, 16> random{};
  TRY(fill_random(random));
  random[6] = (random[6] & std::byte{0x0f}) | std::byte{0x40};  // RFC 4122: version 4
  random[8] = (random[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string text;
  for (size_t i = 0; i < random.size(); ++i)
    text += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                        std::to_integer<unsigned>(random[i]));
  put_text(uuid, text);
  return {};
}

uint32_t iterations_for(HashKind hash, size_t key_bytes, uint64_t milliseconds) {
  const uint64_t wanted = pbkdf2_iterations(hash, key_bytes, milliseconds);
  return static_cast<uint32_t>(
      std::clamp<uint64_t>(wanted, kMinIterations, kMaxLuksIterations / 2));
}

// The volume's key, split and encrypted for the slot.
Result<void> fill_slot(const LuksHeader& header, const LuksSlot& slot, const Secret& passphrase,
                       const Secret& key, std::span<std::byte> split) {
  const Secret slot_key = TRY(Secret::zeros(key.size_bytes()));
  derive_key(header.hash, passphrase.bytes(), slot.salt, slot.iterations, slot_key.bytes());
  TRY(af_split(header.hash, key.bytes(), split.first(header.split_bytes())));
  const SectorCipher cipher = TRY(SectorCipher::create(header.cipher, slot_key.bytes()));
  cipher.encrypt(0, split);
  return {};
}

}  // namespace

Result<LuksHeader> decode_luks(std::span<const std::byte> bytes, uint64_t area_bytes) {
  LuksLayout raw;
  if (bytes.size() < sizeof raw)
    return fail(ErrorKind::kInvalidFormat, "LUKS header: it has only {} bytes", bytes.size());
  std::memcpy(&raw, bytes.data(), sizeof raw);
  if (raw.magic != kMagic)
    return fail(ErrorKind::kInvalidFormat, "LUKS header: no magic at byte 0");
  if (raw.version != 1)
    return fail(ErrorKind::kUnsupported, "LUKS header: version (byte 6) is {}, hull knows 1",
                raw.version.get());
  LuksHeader header;
  auto cipher = parse_cipher(text_of(raw.cipher_name), text_of(raw.cipher_mode), raw.key_bytes)
                    .with_context("LUKS header");
  if (!cipher) return std::unexpected(std::move(cipher).error());
  header.cipher = *cipher;
  auto hash = parse_hash(text_of(raw.hash)).with_context("LUKS header");
  if (!hash) return std::unexpected(std::move(hash).error());
  header.hash = *hash;
  header.payload_sector = raw.payload_sector;
  header.digest = raw.digest;
  header.digest_salt = raw.digest_salt;
  header.digest_iterations = raw.digest_iterations;
  header.uuid = raw.uuid;
  if (header.digest_iterations == 0) return bad_field("mk-digest-iter", 164, 0);
  for (size_t i = 0; i < kLuksSlots; ++i) TRY(decode_slot(raw.slots[i], i, area_bytes, header));
  TRY(check_iterations(header));
  return header;
}

std::vector<std::byte> encode_luks(const LuksHeader& header) {
  LuksLayout raw{};
  raw.magic = kMagic;
  raw.version = uint16_t{1};
  put_text(raw.cipher_name, "aes");
  put_text(raw.cipher_mode, header.cipher.mode_name());
  put_text(raw.hash, hash_name(header.hash));
  raw.payload_sector = header.payload_sector;
  raw.key_bytes = static_cast<uint32_t>(header.cipher.key_bytes());
  raw.digest = header.digest;
  raw.digest_salt = header.digest_salt;
  raw.digest_iterations = header.digest_iterations;
  raw.uuid = header.uuid;
  for (size_t i = 0; i < kLuksSlots; ++i) {
    raw.slots[i].active = header.slots[i].active ? kSlotActive : kSlotUnused;
    raw.slots[i].iterations = header.slots[i].iterations;
    raw.slots[i].salt = header.slots[i].salt;
    raw.slots[i].first_sector = header.slots[i].first_sector;
    raw.slots[i].stripes = kLuksStripes;
  }
  std::vector<std::byte> bytes(sizeof raw);
  std::memcpy(bytes.data(), &raw, sizeof raw);
  return bytes;
}

Result<std::optional<Secret>> open_luks_slot(const LuksHeader& header, const LuksSlot& slot,
                                             const Secret& passphrase, std::span<std::byte> split) {
  const Secret slot_key = TRY(Secret::zeros(header.cipher.key_bytes()));
  derive_key(header.hash, passphrase.bytes(), slot.salt, slot.iterations, slot_key.bytes());
  const SectorCipher cipher = TRY(SectorCipher::create(header.cipher, slot_key.bytes()));
  cipher.decrypt(0, split);
  Secret key = TRY(Secret::zeros(header.cipher.key_bytes()));
  TRY(af_merge(header.hash, split.first(header.split_bytes()), key.bytes()));
  std::array<std::byte, 20> digest{};
  derive_key(header.hash, key.bytes(), header.digest_salt, header.digest_iterations, digest);
  if (digest != header.digest) return std::optional<Secret>();
  return std::optional<Secret>(std::move(key));
}

LuksAttempts::LuksAttempts(const LuksHeader& header) : header_(header) {
  for (const LuksSlot& slot : header_.slots)
    if (slot.active) slots_.push_back(&slot);
  std::ranges::sort(slots_, {}, &LuksSlot::iterations);
}

const LuksSlot* LuksAttempts::next() {
  if (tried_ == slots_.size()) return nullptr;
  const LuksSlot& slot = *slots_[tried_];
  if (iterations_ + header_.iterations_of(slot) > kMaxLuksIterations) return nullptr;
  iterations_ += header_.iterations_of(slot);
  ++tried_;
  return &slot;
}

Error LuksAttempts::failure() const {
  if (tried_ < slots_.size())
    return too_many_iterations(
               fmt::format("{} key slots, of which the cheapest {} were tried in vain,",
                           slots_.size(), tried_),
               iterations_ + header_.iterations_of(*slots_[tried_]))
        .error();
  return Error(ErrorKind::kInvalidConfig,
               "the secret opens none of the LUKS key slots (a file counts with its last newline): "
               "Invalid password, cannot unlock any keyslot");
}

uint64_t luks_area_bytes(const LuksCreateOptions& options) {
  const LuksHeader header{.cipher = options.cipher, .hash = options.hash};
  return (kFirstSlotSector + kLuksSlots * header.split_sectors()) * kSectorBytes;
}

Result<NewLuks> create_luks(const LuksCreateOptions& options, const Secret& passphrase) {
  LuksHeader header{.cipher = options.cipher, .hash = options.hash};
  const size_t key_bytes = header.cipher.key_bytes();
  const Secret key = TRY(Secret::zeros(key_bytes));
  TRY(fill_random(key.bytes()));
  TRY(fill_random(header.digest_salt));
  TRY(make_uuid(header.uuid));
  // The digest only tells a wrong passphrase from a right one: an eighth of the time.
  header.digest_iterations =
      iterations_for(header.hash, header.digest.size(), options.iteration_milliseconds / 8);
  derive_key(header.hash, key.bytes(), header.digest_salt, header.digest_iterations, header.digest);
  const uint64_t split_sectors = header.split_sectors();
  for (size_t i = 0; i < kLuksSlots; ++i)
    header.slots[i].first_sector = static_cast<uint32_t>(kFirstSlotSector + i * split_sectors);
  header.payload_sector = static_cast<uint32_t>(kFirstSlotSector + kLuksSlots * split_sectors);
  LuksSlot& first = header.slots[0];
  first.active = true;
  first.iterations = iterations_for(header.hash, key_bytes, options.iteration_milliseconds);
  TRY(fill_random(first.salt));
  NewLuks made{encode_luks(header), header.payload_sector * kSectorBytes};
  made.bytes.resize((kFirstSlotSector + split_sectors) * kSectorBytes);
  TRY(fill_slot(
      header, first, passphrase, key,
      std::span(made.bytes)
          .subspan(kFirstSlotSector * kSectorBytes, align_up(header.split_bytes(), kSectorBytes))));
  return made;
}

}  // namespace hull::blockcore::crypto
