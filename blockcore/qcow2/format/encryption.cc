#include "blockcore/qcow2/format/encryption.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/engine/iovecs.h"
#include "blockcore/engine/worker_pool.h"

namespace hull::blockcore::qcow2 {
namespace {

using crypto::kSectorBytes;

constexpr size_t kAesKeyBytes = 16;

struct EncryptionLayout {
  Be64 offset;  // 0
  Be64 length;  // 8
};
static_assert(sizeof(EncryptionLayout) == 16);

// The passphrase itself is the key, cut or padded with zeros.
Result<crypto::SectorCipher> unlock_aes(const Secret& passphrase) {
  const Secret key = TRY(Secret::zeros(kAesKeyBytes));
  const size_t length = std::min(passphrase.size_bytes(), kAesKeyBytes);
  std::ranges::copy(passphrase.bytes().first(length), key.bytes().begin());
  return crypto::SectorCipher::create({128, crypto::CipherMode::kCbcPlain64}, key.bytes());
}

Task<Result<crypto::LuksHeader>> read_luks(File& file, EncryptionArea area) {
  std::vector<std::byte> bytes(crypto::kLuksHeaderBytes);
  CO_TRY_VOID(co_await read_exactly(file, area.offset, bytes));
  co_return crypto::decode_luks(bytes, area.length);
}

// Seconds of arithmetic: on a thread of its own, if the host has one, so that the engine goes on.
Task<Result<std::optional<Secret>>> try_slot(WorkerPool* elsewhere,
                                             const crypto::LuksHeader& header,
                                             const crypto::LuksSlot& slot, const Secret& passphrase,
                                             std::span<std::byte> split) {
  if (elsewhere == nullptr) co_return crypto::open_luks_slot(header, slot, passphrase, split);
  std::optional<Result<std::optional<Secret>>> key;
  auto job = elsewhere->run(
      [&](unsigned) { key.emplace(crypto::open_luks_slot(header, slot, passphrase, split)); });
  co_await job;
  co_return *std::move(key);
}

std::unique_ptr<WorkerPool> make_worker(IoEngine* engine) {
  if (engine == nullptr) return nullptr;
  auto pool = WorkerPool::create(*engine, 1);
  return pool ? *std::move(pool) : nullptr;
}

Task<Result<crypto::SectorCipher>> unlock_luks(File& file, EncryptionArea area,
                                               const Secret& passphrase) {
  CO_TRY(const crypto::LuksHeader header, co_await read_luks(file, area));
  CO_TRY(const Secret split, Secret::zeros(align_up(header.split_bytes(), kSectorBytes)));
  const std::unique_ptr<WorkerPool> elsewhere = make_worker(file.engine());
  crypto::LuksAttempts attempts(header);
  while (const crypto::LuksSlot* const slot = attempts.next()) {
    const uint64_t offset = area.offset + uint64_t{slot->first_sector} * kSectorBytes;
    CO_TRY_VOID(co_await read_exactly(file, offset, split.bytes()));
    CO_TRY(const std::optional<Secret> key,
           co_await try_slot(elsewhere.get(), header, *slot, passphrase, split.bytes()));
    if (key) co_return crypto::SectorCipher::create(header.cipher, key->bytes());
  }
  co_return std::unexpected(attempts.failure());
}

}  // namespace

Result<std::optional<EncryptionArea>> find_encryption_area(const Header& header) {
  if (header.encryption_method != kEncryptionLuks) return std::nullopt;
  const HeaderExtension* const extension = header.find_extension(kExtensionEncryption);
  EncryptionLayout raw;
  if (extension == nullptr || extension->data.size() != sizeof raw)
    return fail(ErrorKind::kInvalidFormat,
                "qcow2 header: crypt_method (byte 32) is 2, but extension {:#x} does not say "
                "where the LUKS header is",
                kExtensionEncryption);
  std::memcpy(&raw, extension->data.data(), sizeof raw);
  if (raw.offset == 0 || header.geometry.offset_in_cluster(raw.offset) != 0 ||
      !range_fits<uint64_t>(raw.offset, raw.length, kMaxHostBytes))
    return fail(ErrorKind::kInvalidFormat,
                "qcow2 header: extension {:#x} puts the LUKS header at {:#x}, length {:#x}",
                kExtensionEncryption, raw.offset.get(), raw.length.get());
  return EncryptionArea{raw.offset, raw.length};
}

HeaderExtension make_encryption_extension(const EncryptionArea& area) {
  const EncryptionLayout raw{area.offset, area.length};
  HeaderExtension extension{kExtensionEncryption, {}};
  extension.data.resize(sizeof raw);
  std::memcpy(extension.data.data(), &raw, sizeof raw);
  return extension;
}

Task<Result<std::optional<crypto::LuksHeader>>> read_luks_header(File& file, const Header& header) {
  CO_TRY(const std::optional<EncryptionArea> area, find_encryption_area(header));
  if (!area) co_return std::nullopt;
  CO_TRY(const crypto::LuksHeader luks, co_await read_luks(file, *area));
  co_return std::optional(luks);
}

Task<Result<crypto::SectorCipher>> unlock(File& file, const Header& header,
                                          const Secret& passphrase) {
  if (header.encryption_method == kEncryptionAes) co_return unlock_aes(passphrase);
  CO_TRY(const std::optional<EncryptionArea> area, find_encryption_area(header));
  CHECK(area.has_value());
  co_return co_await unlock_luks(file, *area, passphrase);
}

EncryptedFile::EncryptedFile(File& inner, std::optional<crypto::SectorCipher> cipher)
    : inner_(inner),
      cipher_(std::move(cipher)),
      pool_(std::max<uint32_t>(inner.alignment_bytes(), kSectorBytes)) {}

Result<void> EncryptedFile::check_unlocked() const {
  if (cipher_) return {};
  return fail(ErrorKind::kInvalidConfig, "{}: the image is encrypted and no secret was given",
              path());
}

Task<Result<void>> EncryptedFile::read_as(uint64_t offset, uint64_t iv_offset,
                                          std::span<const iovec> buffers) {
  CO_TRY_VOID(check_unlocked());
  const uint64_t total = total_bytes(buffers);
  for (uint64_t done = 0; done < total;) {
    const uint64_t begin = align_down(offset + done, kSectorBytes);
    const uint64_t skip = offset + done - begin;
    const uint64_t now = std::min(total - done, BouncePool::kBufferBytes - skip);
    const BouncePool::Buffer bounce = co_await pool_.take();
    const auto memory = bounce.bytes().first(align_up(skip + now, kSectorBytes));
    const iovec whole{memory.data(), memory.size()};
    CO_TRY_VOID(co_await inner_.read_or_zero(begin, {&whole, 1}));
    cipher_->decrypt((iv_offset + done) / kSectorBytes, memory);
    copy_to_iovecs(buffers, done, memory.subspan(skip, now));
    done += now;
  }
  co_return {};
}

Task<Result<void>> EncryptedFile::transfer_in(uint64_t offset, std::span<const iovec> buffers,
                                              AtEnd at_end) {
  if (at_end == AtEnd::kFail && !range_fits(offset, total_bytes(buffers), inner_.size_bytes()))
    co_return fail(ErrorKind::kOutOfRange, "{}: the file ends before {:#x}", path(),
                   offset + total_bytes(buffers));
  co_return co_await read_as(offset, offset, buffers);
}

Task<Result<void>> EncryptedFile::write(uint64_t offset, std::span<const iovec> buffers) {
  CO_TRY_VOID(check_unlocked());
  const uint64_t total = total_bytes(buffers);
  if (total == 0) co_return {};
  // A sector of which some bytes are kept must not change between its read and its write.
  const RangeLock::Range sectors{align_down(offset, kSectorBytes),
                                 align_up(offset + total, kSectorBytes) - 1};
  const RangeLock::Hold hold(writing_, sectors);
  while (WaitList* before = hold.before()) co_await before->wait();
  for (uint64_t done = 0; done < total;) {
    const uint64_t skip = (offset + done) % kSectorBytes;
    const uint64_t now = std::min(total - done, BouncePool::kBufferBytes - skip);
    CO_TRY_VOID(co_await write_part(offset + done, buffers, done, now));
    done += now;
  }
  co_return {};
}

// At most what a bounce buffer holds; the sectors at both ends keep what is not written.
Task<Result<void>> EncryptedFile::write_part(uint64_t offset, std::span<const iovec> buffers,
                                             uint64_t done, uint64_t length) {
  const uint64_t begin = align_down(offset, kSectorBytes);
  const uint64_t skip = offset - begin;
  const BouncePool::Buffer bounce = co_await pool_.take();
  const auto memory = bounce.bytes().first(align_up(skip + length, kSectorBytes));
  const bool cut_end = (skip + length) % kSectorBytes != 0;
  const auto last = memory.last(kSectorBytes);
  if (skip != 0 || (cut_end && memory.size() == kSectorBytes))
    CO_TRY_VOID(co_await read_edge(begin, memory.first(kSectorBytes)));
  if (cut_end && memory.size() > kSectorBytes)
    CO_TRY_VOID(co_await read_edge(begin + memory.size() - kSectorBytes, last));
  copy_from_iovecs(buffers, done, memory.subspan(skip, length));
  cipher_->encrypt(begin / kSectorBytes, memory);
  const iovec whole{memory.data(), memory.size()};
  co_return co_await inner_.write(begin, {&whole, 1});
}

Task<Result<void>> EncryptedFile::read_edge(uint64_t offset, std::span<std::byte> sector) {
  const iovec buffer{sector.data(), sector.size()};
  CO_TRY_VOID(co_await inner_.read_or_zero(offset, {&buffer, 1}));
  cipher_->decrypt(offset / kSectorBytes, sector);
  co_return {};
}

Task<Result<void>> EncryptedFile::write_zeroes(uint64_t offset, uint64_t length, bool) {
  std::vector<std::byte> zeros(std::min<uint64_t>(length, BouncePool::kBufferBytes));
  while (length != 0) {
    const iovec buffer{zeros.data(), std::min<uint64_t>(length, zeros.size())};
    CO_TRY_VOID(co_await write(offset, {&buffer, 1}));
    offset += buffer.iov_len;
    length -= buffer.iov_len;
  }
  co_return {};
}

}  // namespace hull::blockcore::qcow2
