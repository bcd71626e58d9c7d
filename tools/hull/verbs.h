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
  // Verbs of its own, one of which is its first word. Null: it has none.
  std::span<const Verb> (*verbs)() = nullptr;
};

// In the order in which --help shows them.
std::span<const Verb> verbs();

int run_verb(Arguments arguments);
int validate_verb(Arguments arguments);
int doctor_verb(Arguments arguments);
int img_verb(Arguments arguments);
int nbd_verb(Arguments arguments);
int pack_verb(Arguments arguments);
int unpack_verb(Arguments arguments);
int complete_verb(Arguments arguments);

std::span<const Verb> img_verbs();

// 'hull help VERB' with the words behind "help": the help of that verb. `no_verb` says that there
// is none.
int help_of(std::span<const Verb> all, Arguments words, int (*no_verb)(std::string_view word));

// What 'hull --version' says behind the name: "0.1.0 (8f3c1a2)".
std::string version_text();

}  // namespace hull::cli
