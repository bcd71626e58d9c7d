// What this host can do for virtual machines: for hull doctor, and for what a run says when it
// cannot begin.
#pragma once

#include <functional>
#include <string>

#include "vmm/kvm.h"

namespace hull::vmm {

// True on hosts with Intel VT-x or AMD-V; false where /dev/kvm has another kind of back end, which
// runs the guest's kernel mode in an emulator.
bool host_has_hardware_virtualisation();

// The capabilities without which build_machine() cannot work and this KVM lacks, in words; empty if
// it has all. `value_of` is KVM_CHECK_EXTENSION.
std::string missing_capabilities(const std::function<int(int extension)>& value_of);
inline constexpr const char* kMissingCapabilitiesRemedy = "use a newer Linux kernel";

// RAM of this host, in bytes.
uint64_t host_memory_bytes();
// KVM keeps tables for every page that a guest could touch, some 1/400 of its memory, from the
// start: a guest that is far larger than its host makes the host kill processes. kHost beyond
// kMaxMemoryTimesHost.
inline constexpr uint64_t kMaxMemoryTimesHost = 16;
Result<void> check_guest_memory(uint64_t guest_bytes, uint64_t host_bytes);

// kHost, with doctor's words, if any is missing.
Result<void> check_capabilities(const Kvm& kvm);

}  // namespace hull::vmm
