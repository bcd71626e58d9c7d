// smp: starts all other CPUs by INIT and SIPI (Intel SDM volume 3, 9.4.4) and lets them count for a
// while.
#include <cstring>

#include "firmware/guest/boot_info.h"
#include "firmware/guest/clock.h"
#include "firmware/guest/console.h"
#include "firmware/guest/interrupts.h"
#include "firmware/guest/memory.h"
#include "firmware/guest/program.h"

extern "C" const char trampoline[];
extern "C" const char trampoline_end[];
extern "C" volatile uint32_t cpus_started;
extern "C" uint64_t cpu_stacks;

namespace hull::guest {
namespace {

constexpr uint32_t kInitAllButSelf = 0x000c4500;
constexpr uint32_t kStartAllButSelf = 0x000c4600 | (HULL_GUEST_TRAMPOLINE >> 12);
constexpr uint64_t kStartTimeoutMs = 5000;
constexpr uint64_t kSettleMs = 200;  // where nobody says how many CPUs there are

struct CpuReport {
  volatile uint64_t count;
  volatile uint32_t apic_id;
  volatile bool running;
  volatile bool done;
  uint8_t fill[64 - 14];  // a cache line each
};

CpuReport reports[HULL_GUEST_MAX_CPUS];
volatile bool stop_counting = false;
bool started = false;

void count_until_stopped(CpuReport& report) {
  report.running = true;
  while (!stop_counting) report.count = report.count + 1;
  report.done = true;
}

uint64_t expected_cpus(const Args& args) {
  const BootInfo& info = boot_info();
  const uint64_t told = info.acpi.cpus != 0 ? info.acpi.cpus : info.fdt.cpus;
  return args.number("cpus", told);
}

Failure start_others(uint64_t expected) {
  cpu_stacks = reinterpret_cast<uint64_t>(allocate(HULL_GUEST_MAX_CPUS * HULL_GUEST_CPU_STACK));
  if (cpu_stacks == 0) return "no memory for stacks";
  memcpy(reinterpret_cast<void*>(HULL_GUEST_TRAMPOLINE), trampoline,
         static_cast<size_t>(trampoline_end - trampoline));
  enable_local_apic();
  send_ipi(0, kInitAllButSelf);
  const Deadline after_init(10);
  while (!after_init.passed()) pause();
  send_ipi(0, kStartAllButSelf);
  const Deadline deadline(expected != 0 ? kStartTimeoutMs : kSettleMs);
  while (!deadline.passed() && (expected == 0 || cpus_started < expected)) pause();
  return nullptr;
}

// Waits for the CPUs that started to reach C++, then for as long as they shall count.
Failure count_together(uint64_t milliseconds) {
  const Deadline start(kStartTimeoutMs);
  for (uint32_t i = 1; i < cpus_started; i++) {
    while (!reports[i].running) {
      if (start.passed()) return "a CPU started but does not run";
    }
  }
  const Deadline deadline(milliseconds);
  while (!deadline.passed()) reports[0].count = reports[0].count + 1;
  stop_counting = true;
  const Deadline end(kStartTimeoutMs);
  for (uint32_t i = 1; i < cpus_started; i++) {
    while (!reports[i].done) {
      if (end.passed()) return "a CPU does not stop";
    }
  }
  return nullptr;
}

Failure smp(const Args& args) {
  if (started) return "the CPUs can be started only once";
  started = true;
  const uint64_t expected = expected_cpus(args);
  if (expected > HULL_GUEST_MAX_CPUS) return "too many CPUs for this guest";
  if (Failure failure = start_others(expected)) return failure;
  if (Failure failure = count_together(args.number("ms", 100))) return failure;
  reports[0].apic_id = cpuid(1).ebx >> 24;
  for (uint32_t i = 0; i < cpus_started; i++) {
    Line("smp.cpu")
        .number("number", i)
        .number("apic-id", reports[i].apic_id)
        .number("count", reports[i].count);
  }
  Line("smp").number("cpus", cpus_started).number("expected", expected);
  return expected == 0 || cpus_started == expected ? nullptr : "not all CPUs started";
}

constexpr Program kPrograms[] = {{"smp", smp}};

}  // namespace

std::span<const Program> cpu_programs() { return kPrograms; }

}  // namespace hull::guest

// Where entry.S brings the further CPUs, each on a stack of its own, at CPL 3.
extern "C" [[noreturn]] void cpu_main(uint64_t number) {
  hull::guest::CpuReport& report = hull::guest::reports[number];
  report.apic_id = hull::guest::cpuid(1).ebx >> 24;
  hull::guest::count_until_stopped(report);
  hull::guest::stop_cpu();
}
