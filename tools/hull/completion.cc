#include "tools/hull/completion.h"

#include <algorithm>

namespace hull::cli {

namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }

// Adds what one alternative offers: `typed` is what was typed of it, `before` what stands before
// it.
void add_alternative(std::string_view alternative, std::string_view typed, std::string_view before,
                     Candidates& candidates) {
  const auto capitals =
      static_cast<size_t>(std::ranges::find_if(alternative, is_upper) - alternative.begin());
  const std::string_view literal = alternative.substr(0, capitals);
  const std::string_view rest = alternative.substr(capitals);
  if (literal.size() > typed.size() || rest.empty()) {
    if (literal.starts_with(typed) && !literal.empty())
      candidates.push_back(std::string(before) + std::string(literal));
    return;
  }
  if (!typed.starts_with(literal)) return;
  const size_t skipped = before.size() + literal.size();
  if (rest.starts_with("FILE") || rest.starts_with("PATH"))
    candidates.push_back(fmt::format("@files {}", skipped));
  else if (rest.starts_with("DIR"))
    candidates.push_back(fmt::format("@directories {}", skipped));
}

// "a|b[,c=d][,e=N]" is "a|b" and {"c=d", "e=N"}.
struct Form {
  std::string_view first;
  std::vector<std::string_view> more;
};

Form take_apart(std::string_view argument) {
  Form form;
  size_t at = argument.find("[,");
  form.first = argument.substr(0, at);
  while (at != std::string_view::npos) {
    const size_t next = argument.find("[,", at + 2);
    const std::string_view part =
        argument.substr(at + 2, next == std::string_view::npos ? next : next - at - 2);
    form.more.push_back(part.substr(0, part.rfind(']')));
    at = next;
  }
  return form;
}

void add_keys(const Form& form, std::string_view typed, Candidates& candidates) {
  const size_t comma = typed.rfind(',');
  const std::string_view before = typed.substr(0, comma + 1);
  const std::string_view word = typed.substr(comma + 1);
  const size_t equals = word.find('=');
  for (std::string_view part : form.more) {
    const size_t key_end = part.find('=');
    if (key_end == std::string_view::npos) continue;
    const std::string_view key = part.substr(0, key_end + 1);
    if (equals == std::string_view::npos) {
      if (key.starts_with(word)) candidates.push_back(std::string(before) + std::string(key));
    } else if (word.starts_with(key)) {
      for (std::string_view value : split(part.substr(key_end + 1), '|'))
        add_alternative(value, word.substr(key.size()), std::string(before) + std::string(key),
                        candidates);
    }
  }
}

const OptionSpec* find_option(const CommandLine& line, std::string_view word) {
  for (const auto& option : line.options()) {
    if (option->positional) continue;
    for (const std::string& name : option->long_names)
      if (word.starts_with("--") && word.substr(2) == name) return option.get();
    if (word.size() == 2 && word[0] == '-' &&
        option->short_names.find(word[1]) != std::string::npos)
      return option.get();
  }
  return nullptr;
}

// The description of the plain word behind `before` others.
const OptionSpec* find_plain(const CommandLine& line, size_t before) {
  for (const auto& option : line.options()) {
    if (!option->positional) continue;
    if (option->list || before == 0) return option.get();
    --before;
  }
  return nullptr;
}

void add_names(const CommandLine& line, std::string_view typed, Candidates& candidates) {
  for (const auto& option : line.options()) {
    if (option->positional) continue;
    for (const char letter : option->short_names)
      if (std::string("-") + letter == typed || typed == "-")
        candidates.push_back(std::string("-") + letter);
    for (const std::string& name : option->long_names)
      if (("--" + name).starts_with(typed)) candidates.push_back("--" + name);
  }
}

}  // namespace

Candidates candidates_for_value(std::string_view argument, std::string_view typed) {
  Candidates candidates;
  const Form form = take_apart(argument);
  if (typed.find(',') != std::string_view::npos && !form.more.empty())
    add_keys(form, typed, candidates);
  else
    for (const std::string_view one : split(form.first, '|'))
      add_alternative(one, typed, "", candidates);
  return candidates;
}

Candidates candidates_for(const CommandLine& line, Arguments words) {
  const std::string_view typed = words.empty() ? "" : words.back();
  const OptionSpec* awaited = nullptr;  // whose value comes next
  size_t plain = 0;
  bool only_plain = false;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string_view word = words[i];
    const OptionSpec* const option = only_plain ? nullptr : find_option(line, word);
    if (awaited != nullptr)
      awaited = nullptr;
    else if (!only_plain && word == "--")
      only_plain = true;
    else if (option != nullptr)
      awaited = option->argument.empty() ? nullptr : option;
    else if (only_plain || word == "-" || !word.starts_with('-'))
      ++plain;
  }
  const auto candidates_of = [&](const OptionSpec& option, std::string_view begun) {
    return option.argument == "DOMAIN" ? domain_names(begun, words)
                                       : candidates_for_value(option.argument, begun);
  };
  if (awaited != nullptr) return candidates_of(*awaited, typed);
  Candidates candidates;
  if (only_plain || !typed.starts_with('-')) {
    if (const OptionSpec* const spec = find_plain(line, plain))
      return candidates_for_value(spec->argument, typed);
    return candidates;
  }
  const size_t equals = typed.find('=');
  if (equals == std::string_view::npos) {
    add_names(line, typed, candidates);
  } else if (const OptionSpec* const option = find_option(line, typed.substr(0, equals));
             option != nullptr && !option->argument.empty()) {
    for (const std::string& one : candidates_of(*option, typed.substr(equals + 1))) {
      const size_t space = one.find(' ');
      if (one.starts_with('@'))
        candidates.push_back(
            fmt::format("{} {}", one.substr(0, space), std::stoul(one.substr(space)) + equals + 1));
      else
        candidates.push_back(std::string(typed.substr(0, equals + 1)) + one);
    }
  }
  return candidates;
}

}  // namespace hull::cli
