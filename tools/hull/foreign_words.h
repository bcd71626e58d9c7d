// What users of virsh, virt-install, QEMU, Docker and systemd-vmspawn type, and what does it here.
#pragma once

#include <span>

namespace hull::cli {

struct ForeignWord {
  const char* word;  // with its dashes
  const char* here;  // the end of "here that is …"
};

std::span<const ForeignWord> foreign_verbs();
std::span<const ForeignWord> foreign_run_options();
// Keys in the values of --disk and --net, without their '='.
std::span<const ForeignWord> foreign_disk_keys();
std::span<const ForeignWord> foreign_net_keys();
// Options that stand before a verb elsewhere.
std::span<const ForeignWord> foreign_first_words();

}  // namespace hull::cli
