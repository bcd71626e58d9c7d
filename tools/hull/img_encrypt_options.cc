#include "tools/hull/img_encrypt_options.h"

#include "tools/hull/img_options.h"

namespace hull::cli {
namespace {

using blockcore::crypto::CipherMode;

constexpr uint64_t kMaxIterationMilliseconds = 60'000;

struct Words {
  std::string format;
  std::string key_secret;
  std::string cipher = "aes-256";
  std::string mode = "xts";
  std::string iv;  // that of the mode
  std::string iv_hash;
  std::string hash = "sha256";
  std::string milliseconds = "2000";
};

std::string* find_word(Words& words, std::string_view key) {
  const std::pair<std::string_view, std::string*> known[] = {
      {"encrypt.format", &words.format},     {"encrypt.key-secret", &words.key_secret},
      {"encrypt.cipher-alg", &words.cipher}, {"encrypt.cipher-mode", &words.mode},
      {"encrypt.ivgen-alg", &words.iv},      {"encrypt.ivgen-hash-alg", &words.iv_hash},
      {"encrypt.hash-alg", &words.hash},     {"encrypt.iter-time", &words.milliseconds}};
  for (const auto& [name, word] : known)
    if (name == key) return word;
  return nullptr;
}

Result<blockcore::crypto::CipherSpec> read_cipher(const Words& words) {
  const std::string iv = words.iv.empty() ? "plain64" : words.iv;
  const bool hash_fits = words.iv_hash.empty() || words.iv_hash == "sha256";
  blockcore::crypto::CipherSpec cipher;
  bool known = (words.cipher == "aes-128" || words.cipher == "aes-256") && hash_fits;
  cipher.aes_bits = words.cipher == "aes-128" ? 128 : 256;
  if (words.mode == "xts" && iv == "plain64")
    cipher.mode = CipherMode::kXtsPlain64;
  else if (words.mode == "cbc" && iv == "plain64")
    cipher.mode = CipherMode::kCbcPlain64;
  else if (words.mode == "cbc" && iv == "essiv")
    cipher.mode = CipherMode::kCbcEssivSha256;
  else
    known = false;
  if (!known)
    return fail(ErrorKind::kUnsupported,
                "cipher {}-{}-{}{}{}: hull has aes-128 and aes-256 in modes xts with plain64, cbc "
                "with plain64 and cbc with essiv:sha256",
                words.cipher, words.mode, iv, words.iv_hash.empty() ? "" : ":", words.iv_hash);
  return cipher;
}

}  // namespace

Result<blockcore::Qcow2Encryption> read_encrypt_options(std::span<const Suboption> options,
                                                        const ImgSecrets& secrets) {
  Words words;
  for (const Suboption& option : options) {
    std::string* const word = find_word(words, option.key);
    if (word == nullptr) return fail(ErrorKind::kUsage, "Invalid parameter '{}'", option.key);
    *word = option.value;
  }
  if (words.format.empty()) return fail(ErrorKind::kUsage, "Parameter 'encrypt.format' is missing");
  if (words.format != "luks")
    return fail(ErrorKind::kUnsupported,
                "encrypt.format={}: hull makes images with encrypt.format=luks alone",
                words.format);
  if (words.key_secret.empty())
    return fail(ErrorKind::kUsage, "Parameter 'encrypt.key-secret' is required for cipher");
  blockcore::Qcow2Encryption encryption;
  encryption.secret = TRY(secrets.need(words.key_secret));
  encryption.luks.cipher = TRY(read_cipher(words));
  encryption.luks.hash = TRY(blockcore::crypto::parse_hash(words.hash));
  encryption.luks.iteration_milliseconds = static_cast<uint32_t>(
      TRY(parse_img_number(words.milliseconds, "encrypt.iter-time", 1, kMaxIterationMilliseconds)));
  return encryption;
}

}  // namespace hull::cli
