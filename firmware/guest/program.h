// What the command line can call by name. Each file of programs lists its own.
#pragma once

#include <span>
#include <string_view>

#include "firmware/guest/args.h"
#include "firmware/guest/cpu.h"

namespace hull::guest {

struct Program {
  std::string_view name;
  Failure (*run)(const Args& args);
};

std::span<const Program> fact_programs();
std::span<const Program> block_programs();
std::span<const Program> bench_programs();
std::span<const Program> cpu_programs();
std::span<const Program> device_programs();
std::span<const Program> net_programs();
std::span<const Program> hostile_programs();
std::span<const Program> end_programs();

}  // namespace hull::guest
