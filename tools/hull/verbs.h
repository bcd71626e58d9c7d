// The verbs of the hull program, one file per family. Each takes the words behind its name and
// returns an exit code (exit_code.h).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hull::cli {

using Arguments = std::span<char* const>;  // without the program's and the verb's name

struct Verb {
  const char* name;
  const char* summary;
  int (*run)(Arguments arguments);
  // What may follow, for completion: options and sub-verbs. Null: nothing.
  std::vector<std::string> (*words)();
};

// In the order in which --help shows them.
std::span<const Verb> verbs();

int run_verb(Arguments arguments);
int doctor_verb(Arguments arguments);
int img_verb(Arguments arguments);
int nbd_verb(Arguments arguments);
int complete_verb(Arguments arguments);

std::vector<std::string> run_words();
std::vector<std::string> doctor_words();
std::vector<std::string> img_words();
std::vector<std::string> nbd_words();
// The options of one verb of `hull img`; none if there is no such verb.
std::vector<std::string> img_option_words(std::string_view name);

}  // namespace hull::cli
