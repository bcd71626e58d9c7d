#include "vmm/exit_report.h"

#include <algorithm>

#include "vmm/host_facts.h"
#include "vmm/x86/kvm_cpu.h"

namespace hull::vmm {

namespace {

struct Encoding {
  std::string_view name;
  uint8_t prefix;  // mandatory prefix, 0: none
  uint8_t length;  // of opcode
  uint8_t opcode[3];
  int modrm_reg;  // bits 5:3 of the ModRM byte, -1: any
};

// Intel SDM volume 2, the instructions of stock kernels that KVM's emulator does not have.
constexpr Encoding kUnemulated[] = {
    {"xgetbv", 0, 3, {0x0f, 0x01, 0xd0}, -1},
    {"rdtscp", 0, 3, {0x0f, 0x01, 0xf9}, -1},
    {"clac", 0, 3, {0x0f, 0x01, 0xca}, -1},
    {"stac", 0, 3, {0x0f, 0x01, 0xcb}, -1},
    {"monitor", 0, 3, {0x0f, 0x01, 0xc8}, -1},
    {"mwait", 0, 3, {0x0f, 0x01, 0xc9}, -1},
    {"rdpkru", 0, 3, {0x0f, 0x01, 0xee}, -1},
    {"clwb", 0x66, 2, {0x0f, 0xae, 0}, 6},
    {"ldmxcsr", 0, 2, {0x0f, 0xae, 0}, 2},
    {"stmxcsr", 0, 2, {0x0f, 0xae, 0}, 3},
    {"xsave", 0, 2, {0x0f, 0xae, 0}, 4},
    {"xrstor", 0, 2, {0x0f, 0xae, 0}, 5},
    {"xsaveopt", 0, 2, {0x0f, 0xae, 0}, 6},
    {"cmpxchg16b", 0, 2, {0x0f, 0xc7, 0}, 1},
    {"xrstors", 0, 2, {0x0f, 0xc7, 0}, 3},
    {"xsavec", 0, 2, {0x0f, 0xc7, 0}, 4},
    {"xsaves", 0, 2, {0x0f, 0xc7, 0}, 5},
    {"popcnt", 0xf3, 2, {0x0f, 0xb8, 0}, -1},
    {"tzcnt", 0xf3, 2, {0x0f, 0xbc, 0}, -1},
    {"lzcnt", 0xf3, 2, {0x0f, 0xbd, 0}, -1},
    {"crc32", 0xf2, 3, {0x0f, 0x38, 0xf0}, -1},
    {"crc32", 0xf2, 3, {0x0f, 0x38, 0xf1}, -1},
    {"invpcid", 0x66, 3, {0x0f, 0x38, 0x82}, -1},
    {"syscall", 0, 2, {0x0f, 0x05, 0}, -1},
    {"int3", 0, 1, {0xcc, 0, 0}, -1},
    {"int", 0, 1, {0xcd, 0, 0}, -1},
};

bool is_prefix(uint8_t byte) {
  constexpr uint8_t kPrefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e,
                                   0x36, 0x3e, 0x26, 0x64, 0x65};
  return std::ranges::find(kPrefixes, byte) != std::end(kPrefixes) || (byte & 0xf0) == 0x40;  // REX
}

std::string hex_bytes(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) text += fmt::format("{}{:02x}", text.empty() ? "" : " ", byte);
  return text;
}

constexpr uint64_t kResetVector = 0xfff0;  // IP; CS is at 0xffff0000

uint64_t instruction_pointer(const Vcpu& vcpu) {
  const auto regs = x86::get_regs(vcpu);
  return regs ? regs->rip : 0;
}

std::string describe_emulation_failure(const Vcpu& vcpu) {
  const auto& failure = vcpu.run_state().emulation_failure;
  std::span<const uint8_t> bytes;
  if (failure.ndata >= 1 &&
      (failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0)
    bytes = {failure.insn_bytes, std::min<size_t>(failure.insn_size, sizeof failure.insn_bytes)};
  const std::string_view name = name_of_unemulated_instruction(bytes);
  std::string text =
      fmt::format("vcpu {}: KVM cannot emulate the instruction{}{} at {:#x} ({})", vcpu.index(),
                  name.empty() ? "" : " ", name, instruction_pointer(vcpu),
                  bytes.empty() ? "bytes not reported" : hex_bytes(bytes));
  if (!host_has_hardware_virtualisation())
    text +=
        "; this host's KVM has no hardware virtualisation (vmx or svm) and emulates the guest's "
        "kernel "
        "mode, so stock kernels cannot run here: use a host with it, or 'hull run' with hull's own "
        "guest";
  return text;
}

}  // namespace

std::string_view name_of_unemulated_instruction(std::span<const uint8_t> bytes) {
  size_t start = 0;
  while (start < bytes.size() && is_prefix(bytes[start])) ++start;
  const auto prefixes = bytes.first(start);
  const auto rest = bytes.subspan(start);
  for (const Encoding& candidate : kUnemulated) {
    const std::span opcode(candidate.opcode, candidate.length);
    if (rest.size() < opcode.size() || !std::ranges::equal(rest.first(opcode.size()), opcode))
      continue;
    if (candidate.prefix != 0 && std::ranges::find(prefixes, candidate.prefix) == prefixes.end())
      continue;
    if (candidate.modrm_reg >= 0) {
      if (rest.size() <= opcode.size()) continue;
      if (((rest[opcode.size()] >> 3) & 7) != candidate.modrm_reg) continue;
    }
    return candidate.name;
  }
  return {};
}

std::string describe_fatal_exit(const Vcpu& vcpu) {
  const kvm_run& run = vcpu.run_state();
  const uint64_t rip = instruction_pointer(vcpu);
  switch (run.exit_reason) {
    case KVM_EXIT_SHUTDOWN:
      // On AMD's processors KVM has reset the vCPU by now (APM volume 2, 15.14.3: the VMCB is
      // undefined).
      if (rip == kResetVector) return fmt::format("vcpu {}: triple fault", vcpu.index());
      return fmt::format("vcpu {}: triple fault at {:#x}", vcpu.index(), rip);
    case KVM_EXIT_FAIL_ENTRY:
      return fmt::format("vcpu {}: KVM could not enter the guest at {:#x}: hardware reason {:#x}",
                         vcpu.index(), rip, run.fail_entry.hardware_entry_failure_reason);
    case KVM_EXIT_INTERNAL_ERROR:
      if (run.internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
        return describe_emulation_failure(vcpu);
      return fmt::format("vcpu {}: KVM internal error {} at {:#x}", vcpu.index(),
                         run.internal.suberror, rip);
    default:
      return fmt::format("vcpu {}: exit {} at {:#x} is not one that hull handles", vcpu.index(),
                         run.exit_reason, rip);
  }
}

}  // namespace hull::vmm
