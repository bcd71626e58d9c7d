#include "tools/hull/suboptions.h"

namespace hull::cli {

namespace {

bool is_dotted_key(std::string_view key) {
  if (key.starts_with("portForward")) return true;
  constexpr std::string_view kBelow = "backing.";
  while (key.starts_with(kBelow)) key.remove_prefix(kBelow.size());
  return key.starts_with("encrypt.");
}

}  // namespace

std::vector<std::string> split_at_commas(std::string_view text) {
  std::vector<std::string> words(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ',') {
      words.back() += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == ',') {
      words.back() += ',';
      ++i;
    } else {
      words.emplace_back();
    }
  }
  return words;
}

Result<std::vector<Suboption>> parse_suboptions(std::string_view text, std::string_view first_key) {
  std::vector<Suboption> options;
  for (const std::string& word : split_at_commas(text)) {
    const size_t equals = word.find('=');
    // A path may hold '=': only a first word that looks like KEY=VALUE with a plain key is an
    // option; of keys with a dot only those of encryption and virt-install are known here.
    const std::string_view key = std::string_view(word).substr(0, equals);
    const bool has_key = equals != std::string::npos &&
                         (key.find_first_of("/. ") == std::string_view::npos || is_dotted_key(key));
    if (has_key)
      options.push_back({word.substr(0, equals), word.substr(equals + 1)});
    else if (options.empty() && !word.empty())
      options.push_back({std::string(first_key), word});
    else
      return fail(ErrorKind::kUsage, "'{}': '{}' is not KEY=VALUE{}", text, word,
                  word.empty() ? "" : fmt::format(", such as {}=on", word));
  }
  return options;
}

Result<bool> parse_switch(const Suboption& option) {
  for (const char* yes : {"on", "yes", "true", "1"})
    if (option.value == yes) return true;
  for (const char* no : {"off", "no", "false", "0"})
    if (option.value == no) return false;
  return fail(ErrorKind::kUsage, "{}={}: say on or off", option.key, option.value);
}

}  // namespace hull::cli
