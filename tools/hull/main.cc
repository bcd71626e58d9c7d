#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/log.h"
#include "tools/hull/exit_code.h"
#include "tools/hull/img.h"
#include "tools/hull/verbs.h"

namespace hull::cli {

namespace {

// Descriptors 0 to 2 are open from here on: what we open later must not become somebody's stdout.
void open_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
      _exit(kExitInternal);
}

int print_help() {
  fmt::print(
      "usage: hull VERB [OPTION...]\n\nA virtual machine monitor: one process, one virtual "
      "machine.\n\n");
  for (const Verb& verb : verbs()) fmt::print("  {:<10} {}\n", verb.name, verb.summary);
  fmt::print("\n'hull VERB --help' lists the options of a verb; 'man hull' says the rest.\n");
  return kExitOk;
}

}  // namespace

int main_program(Arguments words) {
  open_standard_descriptors();
  if (words.empty()) {
    print_help();
    return kExitUsage;
  }
  const std::string_view word = words[0];
  if (word == "--help" || word == "-h" || word == "help") return print_help();
  if (word == "--version" || word == "version") {
    fmt::print("hull {}\n", HULL_VERSION);
    return kExitOk;
  }
  for (const Verb& verb : verbs())
    if (word == verb.name) return verb.run(words.subspan(1));
  return report(Error(ErrorKind::kUsage,
                      fmt::format("there is no verb '{}'; 'hull --help' lists them", word)));
}

}  // namespace hull::cli

int main(int argc, char** argv) {
  const hull::cli::Arguments words{argv + (argc > 0 ? 1 : 0),
                                   static_cast<size_t>(argc > 0 ? argc - 1 : 0)};
  const std::string_view name = argc > 0 ? argv[0] : "";
  if (name == "hull-img" || name.ends_with("/hull-img")) {
    hull::cli::open_standard_descriptors();
    return hull::cli::img_program(words);
  }
  return hull::cli::main_program(words);
}
