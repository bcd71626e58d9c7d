#include "firmware/guest/clock.h"

#include <string_view>

#include "firmware/guest/boot_info.h"
#include "firmware/guest/cpu.h"

namespace hull::guest {
namespace {

// struct pvclock_vcpu_time_info (Linux Documentation/virt/kvm/x86/msr.rst).
struct alignas(32) PvClock {
  uint32_t version;
  uint32_t pad0;
  uint64_t tsc_timestamp;
  uint64_t system_time;
  uint32_t tsc_to_system_mul;
  int8_t tsc_shift;
  uint8_t flags;
  uint8_t pad[2];
};

constexpr uint32_t kHypervisorLeaf = 0x40000000;
constexpr uint32_t kSystemTimeMsr = 0x4b564d01;
constexpr uint32_t kFeatureClockSource2 = 1u << 3;

volatile PvClock pv_clock;
uint64_t khz = 0;
std::string_view source;

// kHz from nanoseconds = (cycles << shift) * mul >> 32.
uint64_t from_kvm_clock() {
  const CpuidResult leaf = cpuid(kHypervisorLeaf);
  const bool is_kvm = leaf.ebx == 0x4b4d564b && leaf.ecx == 0x564b4d56 && leaf.edx == 0x4d;
  if (!is_kvm || (cpuid(kHypervisorLeaf + 1).eax & kFeatureClockSource2) == 0) return 0;
  write_msr(kSystemTimeMsr, reinterpret_cast<uint64_t>(&pv_clock) | 1);
  const uint64_t multiplier = pv_clock.tsc_to_system_mul;
  const int shift{pv_clock.tsc_shift};
  write_msr(kSystemTimeMsr, 0);
  if (multiplier == 0 || shift > 31 || shift < -31) return 0;
  const uint64_t unshifted = (uint64_t{1'000'000} << 32) / multiplier;
  return shift >= 0 ? unshifted >> shift : unshifted << -shift;
}

uint64_t from_hypervisor_leaf() {
  const CpuidResult leaf = cpuid(kHypervisorLeaf);
  if ((cpuid(1).ecx >> 31) == 0 || leaf.eax < kHypervisorLeaf + 0x10 ||
      leaf.eax > kHypervisorLeaf + 0xff) {
    return 0;
  }
  return cpuid(kHypervisorLeaf + 0x10).eax;
}

uint64_t from_crystal_leaf() {
  if (cpuid(0).eax < 0x15) return 0;
  const CpuidResult leaf = cpuid(0x15);
  if (leaf.eax == 0) return 0;
  return uint64_t{leaf.ecx} * leaf.ebx / leaf.eax / 1000;
}

struct Source {
  std::string_view name;
  uint64_t (*read)();
};

constexpr Source kSources[] = {
    {"option", [] { return to_number(boot_info().option("hull.tsc_khz")); }},
    {"kvm-clock", from_kvm_clock},
    {"leaf-0x40000010", from_hypervisor_leaf},
    {"leaf-0x15", from_crystal_leaf},
    {"assumed", [] { return uint64_t{2'000'000}; }},
};

}  // namespace

void start_clock() {
  for (const Source& candidate : kSources) {
    khz = candidate.read();
    source = candidate.name;
    if (khz != 0) return;
  }
}

uint64_t tsc_khz() { return khz; }
std::string_view tsc_source() { return source; }

uint64_t cycles_to_us(uint64_t cycles) { return cycles / khz * 1000 + cycles % khz * 1000 / khz; }

Deadline::Deadline(uint64_t milliseconds) : tsc_(read_tsc() + milliseconds * khz) {}
bool Deadline::passed() const { return read_tsc() >= tsc_; }

}  // namespace hull::guest
