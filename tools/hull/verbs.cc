#include "tools/hull/verbs.h"

namespace hull::cli {
namespace {

constexpr Verb kVerbs[] = {
    {"run", "run a virtual machine in the foreground", run_verb, run_words},
    {"doctor", "say what this host can do, and try the main job", doctor_verb, doctor_words},
    {"img", "make, describe and check disk images", img_verb, img_words},
    {"nbd", "serve a disk image to NBD clients", nbd_verb, nbd_words},
    {"complete", "print completions for a shell", complete_verb, nullptr},
};

}  // namespace

std::span<const Verb> verbs() { return kVerbs; }

}  // namespace hull::cli
