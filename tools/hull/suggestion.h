// What somebody may have meant who typed a word that does not exist.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tools/hull/foreign_words.h"

namespace hull::cli {

// "; did you mean 'run'?", "; here that is …" if the word is one of `foreign`, or "".
// `names`: the words that exist, options with their dashes.
std::string suggestion(std::string_view word, std::span<const std::string> names,
                       std::span<const ForeignWord> foreign);

}  // namespace hull::cli
