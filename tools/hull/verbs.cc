#include "tools/hull/verbs.h"

namespace hull::cli {
namespace {

constexpr Verb kVerbs[] = {
    {"run", "run a virtual machine in the foreground", run_verb},
    {"validate", "judge domain documents without starting anything", validate_verb},
    {"doctor", "say what this host can do, and try the main job", doctor_verb},
    {"img", "make, describe and check disk images", img_verb, img_verbs},
    {"pack", "put a directory as a tar archive on a raw disk", pack_verb},
    {"unpack", "make a directory of the tar archive on a raw disk", unpack_verb},
    {"nbd", "serve a disk image to NBD clients", nbd_verb},
    {"complete", "print completions for a shell", complete_verb},
};

}  // namespace

std::span<const Verb> verbs() { return kVerbs; }

int help_of(std::span<const Verb> all, Arguments words, int (*no_verb)(std::string_view word)) {
  const std::string_view name = words[0];
  for (const Verb& verb : all) {
    if (name != verb.name) continue;
    std::string help = "--help";
    // 'hull help img create' is 'hull img help create'.
    std::string again = "help";
    std::vector<char*> given{help.data()};
    if (verb.verbs != nullptr && words.size() > 1) given = {again.data(), words[1]};
    return verb.run(given);
  }
  return no_verb(name);
}

}  // namespace hull::cli
