// Texts for the ways in which a virtual CPU can stop that are not the guest's wish. One line each.
#pragma once

#include <string>

#include "vmm/kvm.h"

namespace hull::vmm {

// KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_SHUTDOWN and exits that hull does not
// know.
std::string describe_fatal_exit(const Vcpu& vcpu);

// The name of the instruction at the start of `bytes` if it is one that KVM's emulator is known to
// lack ("rdtscp"); empty otherwise.
std::string_view name_of_unemulated_instruction(std::span<const uint8_t> bytes);

}  // namespace hull::vmm
