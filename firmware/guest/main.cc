// hull's small guest: runs the programs that hull.do= on the command line names, one after the
// other, then the end that hull.end= names (README.md has the table).
#include "firmware/guest/boot_info.h"
#include "firmware/guest/clock.h"
#include "firmware/guest/console.h"
#include "firmware/guest/memory.h"
#include "firmware/guest/program.h"

extern "C" uint64_t exception_vector;
extern "C" uint64_t exception_error;
extern "C" uint64_t exception_address;
extern "C" uint64_t exception_cr2;

namespace hull::guest {
namespace {

using ProgramList = std::span<const Program> (*)();
constexpr ProgramList kLists[] = {fact_programs,   block_programs, bench_programs,   cpu_programs,
                                  device_programs, net_programs,   hostile_programs, end_programs};

Failure run_program(const Args& args) {
  for (ProgramList list : kLists) {
    for (const Program& program : list()) {
      if (program.name != args.program()) continue;
      MemoryScope scope;
      return program.run(args);
    }
  }
  return "no such program";
}

bool run_and_report(std::string_view text) {
  const Args args(text);
  const Failure failure = run_program(args);
  Line line(failure == nullptr ? "ok" : "FAIL");
  line.words(args.program());
  if (failure != nullptr) line.words(failure);
  return failure == nullptr;
}

void run_all() {
  print("ull-guest: start\n");  // entry.S has written the first letter
  read_boot_info();
  start_memory();
  start_clock();
  uint64_t failed = 0;
  std::string_view rest = boot_info().option("hull.do");
  std::string_view text;
  while (split(rest, ';', text)) failed += run_and_report(text) ? 0 : 1;
  const std::string_view end = boot_info().option("hull.end", "auto");
  Line("end").text("by", end).number("failed", failed);
  run_and_report(end);
}

}  // namespace
}  // namespace hull::guest

extern "C" [[noreturn]] void guest_main() {
  hull::guest::run_all();
  hull::guest::stop_cpu();
}

// Where entry.S goes after a CPU exception, on a fresh stack.
extern "C" [[noreturn]] void guest_exception() {
  hull::guest::Line("FAIL exception")
      .number("vector", exception_vector)
      .hex("error", exception_error)
      .hex("address", exception_address)
      .hex("cr2", exception_cr2);
  hull::guest::triple_fault();
}
