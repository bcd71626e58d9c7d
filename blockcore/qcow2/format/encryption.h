// Encrypted guest data: docs/interop/qcow2, "Full disk encryption header pointer", and the old AES
// encryption (crypt_method 1).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "blockcore/async/range_lock.h"
#include "blockcore/crypto/luks.h"
#include "blockcore/crypto/sector_cipher.h"
#include "blockcore/engine/bounce_pool.h"
#include "blockcore/file/file.h"
#include "blockcore/qcow2/format/header.h"
#include "blockcore/secret.h"

namespace hull::blockcore::qcow2 {

inline constexpr uint32_t kEncryptionNone = 0;
inline constexpr uint32_t kEncryptionAes = 1;
inline constexpr uint32_t kEncryptionLuks = 2;

// Where the header of the encryption stands.
struct EncryptionArea {
  uint64_t offset = 0;  // in the file
  uint64_t length = 0;
};

// nullopt if the image is not encrypted with LUKS. kInvalidFormat for an extension that is missing
// or lies.
Result<std::optional<EncryptionArea>> find_encryption_area(const Header& header);
HeaderExtension make_encryption_extension(const EncryptionArea& area);

// nullopt if the image is not encrypted with LUKS. Errors also as decode_luks() has them.
Task<Result<std::optional<crypto::LuksHeader>>> read_luks_header(File& file, const Header& header);

// The cipher that `passphrase` gives for the image. May take seconds, LUKS is made so,
// in which the file's engine goes on.
// kInvalidConfig if the passphrase is wrong.
Task<Result<crypto::SectorCipher>> unlock(File& file, const Header& header,
                                          const Secret& passphrase);

// The file that holds the guest's data, as it reads without encryption. The number of a sector,
// from which its IV follows, is that in the file. All data passes through buffers of our own: what
// the guest can see is never encrypted in place.
class EncryptedFile final : public File {
 public:
  // `inner` outlives it. Without a cipher every transfer fails.
  EncryptedFile(File& inner, std::optional<crypto::SectorCipher> cipher);

  // As read_or_zero(), with the IVs of other sectors: those that begin at `iv_offset`, which lies
  // in its sector where `offset` does.
  Task<Result<void>> read_as(uint64_t offset, uint64_t iv_offset, std::span<const iovec> buffers);

  const std::string& path() const override { return inner_.path(); }
  bool read_only() const override { return inner_.read_only(); }
  uint64_t size_bytes() const override { return inner_.size_bytes(); }
  bool is_block_device() const override { return inner_.is_block_device(); }
  uint64_t max_size_bytes() const override { return inner_.max_size_bytes(); }
  // A hole decrypts to noise.
  bool unwritten_reads_as_zeros() const override { return false; }
  uint32_t alignment_bytes() const override { return inner_.alignment_bytes(); }
  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> flush() override { return inner_.flush(); }
  Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
  Task<Result<void>> discard(uint64_t offset, uint64_t length) override {
    return inner_.discard(offset, length);
  }
  Task<Result<void>> allocate(uint64_t offset, uint64_t length) override {
    return inner_.allocate(offset, length);
  }
  Result<void> extend_to(uint64_t size_bytes) override { return inner_.extend_to(size_bytes); }
  Result<void> cut_to(uint64_t size_bytes) override { return inner_.cut_to(size_bytes); }
  void abandon() override { inner_.abandon(); }
  // Holes do not read as zeros here.
  Result<FileRange> range_at(uint64_t offset) const override { return File::range_at(offset); }

 protected:
  Task<Result<void>> transfer_in(uint64_t offset, std::span<const iovec> buffers,
                                 AtEnd at_end) override;

 private:
  Result<void> check_unlocked() const;
  Task<Result<void>> write_part(uint64_t offset, std::span<const iovec> buffers, uint64_t done,
                                uint64_t length);
  Task<Result<void>> read_edge(uint64_t offset, std::span<std::byte> sector);

  File& inner_;
  const std::optional<crypto::SectorCipher> cipher_;
  BouncePool pool_;
  RangeLock writing_;  // bytes of whole sectors
};

}  // namespace hull::blockcore::qcow2
