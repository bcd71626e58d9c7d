// From a passphrase to a key, and a key spread over many bytes so that wiping a few destroys it:
// PBKDF2 (RFC 8018) and the anti-forensic splitter of the LUKS1 on-disk format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "blockcore/secret.h"

namespace hull::blockcore::crypto {

enum class HashKind : uint8_t { kSha1, kSha256, kSha512 };

std::string_view hash_name(HashKind hash);  // "sha256"
Result<HashKind> parse_hash(std::string_view name);

// PBKDF2.
void derive_key(HashKind hash, std::span<const std::byte> passphrase,
                std::span<const std::byte> salt, uint32_t iterations, std::span<std::byte> key);

// Iterations that take about `milliseconds` of this processor for a key of `key_bytes`.
uint64_t pbkdf2_iterations(HashKind hash, size_t key_bytes, uint64_t milliseconds);

// `split` is a whole number of stripes of key.size() bytes.
Result<void> af_split(HashKind hash, std::span<const std::byte> key, std::span<std::byte> split);
Result<void> af_merge(HashKind hash, std::span<const std::byte> split, std::span<std::byte> key);

// From the kernel's generator.
Result<void> fill_random(std::span<std::byte> bytes);

}  // namespace hull::blockcore::crypto
