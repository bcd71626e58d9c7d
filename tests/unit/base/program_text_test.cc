#include "base/program_text.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

namespace hull {
namespace {

int code_to_find() { return 42; }

struct CodeMapping {
  unsigned long start = 0;
  unsigned long end = 0;
  unsigned long resident_kib = 0;
};

// The mapping that holds this program's code.
CodeMapping code_mapping() {
  const auto code = reinterpret_cast<unsigned long>(&code_to_find);
  std::ifstream smaps("/proc/self/smaps");
  CodeMapping mapping;
  std::string line;
  while (std::getline(smaps, line)) {
    unsigned long start = 0;
    unsigned long end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) {
      if (mapping.start != 0) break;
      if (code >= start && code < end) mapping = {start, end, 0};
    } else if (mapping.start != 0) {
      std::sscanf(line.c_str(), "Rss: %lu kB", &mapping.resident_kib);
    }
  }
  return mapping;
}

TEST(ProgramText, LeavesMemoryAndStillRuns) {
  const CodeMapping mapping = code_mapping();
  ASSERT_NE(mapping.start, 0u);
  unsigned sum = 0;
  for (unsigned long page = mapping.start; page < mapping.end; page += 4096)
    sum += *reinterpret_cast<const volatile uint8_t*>(page);
  const unsigned long before_kib = code_mapping().resident_kib;

  drop_resident_text();

  const unsigned long after_kib = code_mapping().resident_kib;
  EXPECT_LT(after_kib, before_kib / 2) << sum;
  EXPECT_EQ(code_to_find(), 42);
}

}  // namespace
}  // namespace hull
