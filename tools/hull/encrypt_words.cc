#include "tools/hull/encrypt_words.h"

#include "blockcore/open.h"

namespace hull::cli {

Result<bool> take_encrypt_option(const Suboption& option, std::vector<EncryptWords>& levels) {
  constexpr std::string_view kBelow = "backing.";
  std::string_view key = option.key;
  size_t level = 0;
  for (; key.starts_with(kBelow); key.remove_prefix(kBelow.size())) ++level;
  const bool is_secret = key == "encrypt.key-secret";
  if (!is_secret && key != "encrypt.format") return false;
  if (level >= blockcore::kMaxChainLength)
    return fail(ErrorKind::kUsage, "{}: a chain has at most {} images", option.key,
                blockcore::kMaxChainLength);
  if (option.value.empty() || (!is_secret && option.value != "luks" && option.value != "aes"))
    return fail(ErrorKind::kUsage, "{}={}: {}", option.key, option.value,
                is_secret ? "which secret?" : "say luks or aes");
  if (levels.size() <= level) levels.resize(level + 1);
  (is_secret ? levels[level].secret_id : levels[level].format) = option.value;
  return true;
}

}  // namespace hull::cli
