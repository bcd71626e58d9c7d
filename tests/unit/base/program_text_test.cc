#include "base/program_text.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>

#include "base/unique_fd.h"

// Code that nothing runs. The kernel maps up to 64 KiB around a fault: the middle is farther than
// that from everything that does run.
asm(".pushsection .text\n"
    ".globl hull_test_unused_code\n"
    ".hidden hull_test_unused_code\n"
    ".balign 4096\n"
    "hull_test_unused_code:\n"
    ".skip 262144, 0xcc\n"
    ".popsection\n");
extern "C" const volatile uint8_t hull_test_unused_code[262144];

namespace hull {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kPresent = uint64_t{1} << 63;  // proc_pid_pagemap(5)

int code_to_find() { return 42; }

bool is_resident(const volatile uint8_t* address) {
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const uint64_t page = reinterpret_cast<uint64_t>(address) / kPageBytes;
  uint64_t entry = 0;
  EXPECT_EQ(::pread(pagemap.get(), &entry, sizeof entry, static_cast<off_t>(page * sizeof entry)),
            static_cast<ssize_t>(sizeof entry));
  return (entry & kPresent) != 0;
}

TEST(ProgramText, LeavesMemoryAndStillRuns) {
  const volatile uint8_t* middle = hull_test_unused_code + sizeof hull_test_unused_code / 2;
  EXPECT_EQ(*middle, 0xcc);
  ASSERT_TRUE(is_resident(middle));

  drop_resident_text();

  EXPECT_FALSE(is_resident(middle));
  EXPECT_EQ(*middle, 0xcc);
  EXPECT_EQ(code_to_find(), 42);
}

}  // namespace
}  // namespace hull
