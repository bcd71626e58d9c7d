// hull complete -- WORD...: candidates for the last word, one a line. The shell functions in
// tools/completion call this, so that they never lag behind the program.
#include "tools/hull/exit_code.h"
#include "tools/hull/verbs.h"

namespace hull::cli {

int complete_verb(Arguments arguments) {
  if (!arguments.empty() && std::string_view(arguments[0]) == "--")
    arguments = arguments.subspan(1);
  const std::string_view last = arguments.empty() ? "" : arguments.back();
  const auto offer = [last](std::string_view word) {
    if (word.starts_with(last)) fmt::print("{}\n", word);
  };
  if (arguments.size() > 2 && std::string_view(arguments[0]) == "img") {
    if (last.starts_with('-'))
      for (const std::string& word : img_option_words(arguments[1])) offer(word);
    return kExitOk;
  }
  for (const Verb& verb : verbs()) {
    if (arguments.size() <= 1) {
      offer(verb.name);
    } else if (std::string_view(arguments[0]) == verb.name && verb.words != nullptr) {
      for (const std::string& word : verb.words()) offer(word);
    }
  }
  return kExitOk;
}

}  // namespace hull::cli
