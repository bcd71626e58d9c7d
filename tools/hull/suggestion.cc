#include "tools/hull/suggestion.h"

#include <fmt/core.h>

#include "config/edit_distance.h"

namespace hull::cli {

namespace {

constexpr size_t kMaxWord = 40;  // longer ones are no slips of the pen

// How far two words may be apart: one slip, two in long words.
size_t allowed_distance(size_t length) { return length <= 4 ? 1 : length <= 9 ? 2 : 3; }

std::string_view without_dashes(std::string_view word) {
  while (word.starts_with('-')) word.remove_prefix(1);
  return word;
}

}  // namespace

std::string suggestion(std::string_view word, std::span<const std::string> names,
                       std::span<const ForeignWord> foreign) {
  word = word.substr(0, word.find('='));
  for (const ForeignWord& one : foreign)
    if (word == one.word) return fmt::format("; here that is {}", one.here);
  const std::string_view typed = without_dashes(word);
  if (typed.empty() || typed.size() > kMaxWord) return "";
  const std::string* best = nullptr;
  size_t best_distance = allowed_distance(typed.size()) + 1;
  for (const std::string& name : names) {
    const std::string_view bare = without_dashes(name);
    if (bare.size() > kMaxWord) continue;
    // "--mem" is on its way to "--memory".
    const bool begun = typed.size() >= 3 && bare.starts_with(typed);
    const size_t distance = begun ? 0 : config::edit_distance(typed, bare);
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = &name;
  }
  return best == nullptr ? "" : fmt::format("; did you mean '{}'?", *best);
}

}  // namespace hull::cli
