// Candidates for the word that somebody is typing, from the descriptions of the options.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/hull/command_line.h"

namespace hull::cli {

// What the shells understand (tools/completion/): whole words that begin with what was typed, and
// at most one of
//   "@files N"        names of files, for what follows the first N characters of the word
//   "@directories N"  the same, directories alone
// A word that ends in '=', ':' or ',' goes on.
using Candidates = std::vector<std::string>;

// For the last of `words`, which stand behind the verb.
Candidates candidates_for(const CommandLine& line, Arguments words);

// `argument` as --help shows it: alternatives "raw|qcow2", "file:PATH" or "if=FILE" (FILE and PATH
// are files, DIR directories, DOMAIN is one by itself, other words in capitals anything), and
// behind them "[,key=a|b]",
// "[,key=N]".
Candidates candidates_for_value(std::string_view argument, std::string_view typed);

// Of domains, for an argument called DOMAIN: `words` may say --root or --layout.
Candidates domain_names(std::string_view typed, Arguments words);

}  // namespace hull::cli
