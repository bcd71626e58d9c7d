#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <system_error>

#include "base/log.h"
#include "tools/hull/exit_code.h"
#include "tools/hull/img.h"
#include "tools/hull/no_memory.h"
#include "tools/hull/suggestion.h"
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
  fmt::print("\n'hull help VERB' lists the options of a verb; 'man hull' says the rest.\n");
  return kExitOk;
}

// An option where a verb belongs.
int no_first_option(std::string_view word) {
  std::string hint = suggestion(word, {}, foreign_first_words());
  if (hint.empty()) hint = "; options stand behind the verb, as in 'hull run --debug'";
  return report(
      Error(ErrorKind::kUsage, fmt::format("there is no '{}' before a verb{}", word, hint)));
}

int no_verb(std::string_view word) {
  if (word.starts_with('-')) return no_first_option(word);
  std::vector<std::string> names;
  for (const Verb& verb : verbs()) names.emplace_back(verb.name);
  std::string hint = suggestion(word, names, foreign_verbs());
  if (hint.empty() && ::access(std::string(word).c_str(), F_OK) == 0)
    hint = fmt::format(
        "; 'hull run {0}' runs a domain document, 'hull img info {0}' describes an image", word);
  return report(
      Error(ErrorKind::kUsage, fmt::format("there is no verb '{}'{}{}", word, hint,
                                           hint.empty() ? "; 'hull --help' lists them" : "")));
}

}  // namespace

int main_program(Arguments words) {
  if (words.empty()) {
    print_help();
    return kExitUsage;
  }
  const std::string_view word = words[0];
  if (word == "help" && words.size() > 1) return help_of(verbs(), words.subspan(1), no_verb);
  if (word == "--help" || word == "-h" || word == "help") return print_help();
  if (word == "--version" || word == "version") {
    fmt::print("hull {}\n", version_text());
    return kExitOk;
  }
  // A server refuses a client, or answers ENOMEM, and serves the others.
  if (word != "nbd") end_when_out_of_memory(kExitHost);
  for (const Verb& verb : verbs())
    if (word == verb.name) return verb.run(words.subspan(1));
  return no_verb(word);
}

}  // namespace hull::cli

namespace hull::cli {
namespace {

int run_named_program(std::string_view name, Arguments words) {
  name = name.substr(name.rfind('/') + 1);
  return name == kImgName || name == kQemuName ? img_program(name, words) : main_program(words);
}

// A standard output that takes nothing (a full disk) is an error, as with coreutils. fmt throws.
int report_lost_output(int error_number) {
  return report(Error::from_errno("write to standard output", error_number));
}

int guarded_main(std::string_view name, Arguments words) {
  int code;
  try {
    code = run_named_program(name, words);
  } catch (const std::system_error& failure) {
    code = report_lost_output(failure.code().value());
  }
  if (std::fflush(stdout) != 0 && code == kExitOk) code = report_lost_output(errno);
  flush_log();
  return code;
}

}  // namespace
}  // namespace hull::cli

int main(int argc, char** argv) {
  hull::cli::open_standard_descriptors();
  // A file that may not grow further has to come back as EFBIG.
  ::signal(SIGXFSZ, SIG_IGN);
  const hull::cli::Arguments words{argv + (argc > 0 ? 1 : 0),
                                   static_cast<size_t>(argc > 0 ? argc - 1 : 0)};
  return hull::cli::guarded_main(argc > 0 ? argv[0] : "", words);
}
