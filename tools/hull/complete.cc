// hull complete -- WORD...: candidates for the last word, one a line (completion.h). The shell
// functions in tools/completion call this, so that they never lag behind the program.
#include <algorithm>

#include "tools/hull/completion.h"
#include "tools/hull/exit_code.h"
#include "tools/hull/img.h"
#include "tools/hull/verbs.h"

namespace hull::cli {

namespace {

void offer(const Candidates& candidates) {
  for (const std::string& word : candidates) fmt::print("{}\n", word);
}

void offer_verbs(std::span<const Verb> all, std::string_view typed,
                 std::initializer_list<std::string_view> more) {
  for (const Verb& verb : all)
    if (std::string_view(verb.name).starts_with(typed)) fmt::print("{}\n", verb.name);
  for (const std::string_view word : more)
    if (word.starts_with(typed) && (!word.starts_with('-') || typed.starts_with('-')))
      fmt::print("{}\n", word);
}

// The verb describes its options, and does nothing.
void offer_words_of(const Verb& verb, Arguments words) {
  CommandLine::set_completer(
      [words](const CommandLine& line, Arguments) { offer(candidates_for(line, words)); });
  verb.run({});
  CommandLine::set_completer(nullptr);
}

void complete_verb_of(std::span<const Verb> all, Arguments words,
                      std::initializer_list<std::string_view> more) {
  if (words.size() <= 1) return offer_verbs(all, words.empty() ? "" : words[0], more);
  const std::string_view name = words[0];
  if (name == "help") {
    if (words.size() == 2) offer_verbs(all, words[1], {});
    return;
  }
  for (const Verb& verb : all)
    if (name == verb.name)
      return verb.verbs == nullptr ? offer_words_of(verb, words.subspan(1))
                                   : complete_verb_of(verb.verbs(), words.subspan(1),
                                                      {"help", "--help", "--version"});
}

}  // namespace

int complete_verb(Arguments arguments) {
  if (!arguments.empty() && std::string_view(arguments[0]) == "--")
    arguments = arguments.subspan(1);
  complete_verb_of(verbs(), arguments, {"help", "--help", "--version"});
  return kExitOk;
}

}  // namespace hull::cli
