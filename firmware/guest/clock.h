// Time is the TSC. Its frequency comes, in this order, from hull.tsc_khz= on the command line,
// kvm-clock, CPUID leaf 0x40000010, CPUID leaf 0x15; otherwise 2 GHz is assumed and said so.
#pragma once

#include <cstdint>
#include <string_view>

namespace hull::guest {

void start_clock();
uint64_t tsc_khz();
std::string_view tsc_source();

uint64_t cycles_to_us(uint64_t cycles);

// A moment in the future, to bound every wait.
class Deadline {
 public:
  explicit Deadline(uint64_t milliseconds);
  bool passed() const;

 private:
  uint64_t tsc_;
};
inline constexpr uint64_t kDeviceTimeoutMs = 20'000;

}  // namespace hull::guest
