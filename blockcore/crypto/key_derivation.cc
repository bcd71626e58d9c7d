#include "blockcore/crypto/key_derivation.h"

#include <nettle/pbkdf2.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/check.h"
#include "base/endian.h"

namespace hull::blockcore::crypto {
namespace {

constexpr std::pair<HashKind, std::string_view> kHashes[] = {
    {HashKind::kSha1, "sha1"}, {HashKind::kSha256, "sha256"}, {HashKind::kSha512, "sha512"}};

const uint8_t* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}
uint8_t* raw(std::span<std::byte> bytes) { return reinterpret_cast<uint8_t*>(bytes.data()); }

size_t digest_bytes(HashKind hash) {
  if (hash == HashKind::kSha1) return SHA1_DIGEST_SIZE;
  return hash == HashKind::kSha256 ? SHA256_DIGEST_SIZE : SHA512_DIGEST_SIZE;
}

// data = hash(index, data), of which the beginning is taken.
void rehash(HashKind hash, uint32_t index, std::span<std::byte> data) {
  const Be32 number = index;
  const auto* const prefix = reinterpret_cast<const uint8_t*>(&number);
  union {
    sha1_ctx sha1;
    sha256_ctx sha256;
    sha512_ctx sha512;
  } state;
  if (hash == HashKind::kSha1) {
    sha1_init(&state.sha1);
    sha1_update(&state.sha1, sizeof number, prefix);
    sha1_update(&state.sha1, data.size(), raw(data));
    sha1_digest(&state.sha1, data.size(), raw(data));
  } else if (hash == HashKind::kSha256) {
    sha256_init(&state.sha256);
    sha256_update(&state.sha256, sizeof number, prefix);
    sha256_update(&state.sha256, data.size(), raw(data));
    sha256_digest(&state.sha256, data.size(), raw(data));
  } else {
    sha512_init(&state.sha512);
    sha512_update(&state.sha512, sizeof number, prefix);
    sha512_update(&state.sha512, data.size(), raw(data));
    sha512_digest(&state.sha512, data.size(), raw(data));
  }
  ::explicit_bzero(&state, sizeof state);
}

void diffuse(HashKind hash, std::span<std::byte> block) {
  const size_t step = digest_bytes(hash);
  for (uint32_t index = 0; !block.empty(); ++index) {
    const size_t now = std::min(step, block.size());
    rehash(hash, index, block.first(now));
    block = block.subspan(now);
  }
}

void xor_into(std::span<std::byte> block, std::span<const std::byte> other) {
  for (size_t i = 0; i < block.size(); ++i) block[i] ^= other[i];
}

// What all stripes but the last come to.
void fold(HashKind hash, std::span<const std::byte> split, std::span<std::byte> block) {
  for (size_t at = 0; at + block.size() < split.size(); at += block.size()) {
    xor_into(block, split.subspan(at, block.size()));
    diffuse(hash, block);
  }
}

uint64_t cpu_nanoseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

std::string_view hash_name(HashKind hash) {
  for (const auto& [kind, name] : kHashes)
    if (kind == hash) return name;
  return {};
}

Result<HashKind> parse_hash(std::string_view name) {
  for (const auto& [kind, known] : kHashes)
    if (name == known) return kind;
  return fail(ErrorKind::kUnsupported, "hash {}: hull has sha1, sha256 and sha512", name);
}

void derive_key(HashKind hash, std::span<const std::byte> passphrase,
                std::span<const std::byte> salt, uint32_t iterations, std::span<std::byte> key) {
  CHECK(iterations != 0 && !key.empty());
  const auto derive = hash == HashKind::kSha1     ? &pbkdf2_hmac_sha1
                      : hash == HashKind::kSha256 ? &pbkdf2_hmac_sha256
                                                  : &pbkdf2_hmac_sha512;
  derive(passphrase.size(), raw(passphrase), iterations, salt.size(), raw(salt), key.size(),
         raw(key));
}

uint64_t pbkdf2_iterations(HashKind hash, size_t key_bytes, uint64_t milliseconds) {
  const std::array<std::byte, 32> salt{};
  std::array<std::byte, 64> key{};
  uint32_t iterations = 1000;
  for (;;) {
    const uint64_t begin = cpu_nanoseconds();
    derive_key(hash, salt, salt, iterations, std::span(key).first(key_bytes));
    const uint64_t took = std::max<uint64_t>(cpu_nanoseconds() - begin, 1);
    // Long enough to be measured well.
    if (took >= 20'000'000 || iterations >= 1U << 24)
      return static_cast<uint64_t>(static_cast<double>(iterations) *
                                   static_cast<double>(milliseconds) * 1e6 /
                                   static_cast<double>(took));
    iterations *= 4;
  }
}

Result<void> af_split(HashKind hash, std::span<const std::byte> key, std::span<std::byte> split) {
  CHECK(!key.empty() && split.size() % key.size() == 0 && split.size() > key.size());
  const Secret block = TRY(Secret::zeros(key.size()));
  const auto last = split.last(key.size());
  TRY(fill_random(split.first(split.size() - key.size())));
  fold(hash, split, block.bytes());
  std::ranges::copy(key, last.begin());
  xor_into(last, block.bytes());
  return {};
}

Result<void> af_merge(HashKind hash, std::span<const std::byte> split, std::span<std::byte> key) {
  CHECK(!key.empty() && split.size() % key.size() == 0 && split.size() > key.size());
  std::ranges::fill(key, std::byte{});
  fold(hash, split, key);
  xor_into(key, split.last(key.size()));
  return {};
}

Result<void> fill_random(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(Error::from_errno("getrandom"));
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return {};
}

}  // namespace hull::blockcore::crypto
