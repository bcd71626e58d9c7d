#include "base/program_text.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>

// A page of code that nothing runs.
asm(".pushsection .text\n"
    ".globl hull_test_unused_code\n"
    ".hidden hull_test_unused_code\n"
    ".balign 4096\n"
    "hull_test_unused_code:\n"
    ".skip 4096, 0xcc\n"
    ".popsection\n");
extern "C" volatile uint8_t hull_test_unused_code[4096];

namespace hull {
namespace {

int code_to_find() { return 42; }

// TSan has no shadow for code.
__attribute__((no_sanitize("thread"))) uint8_t first_byte() { return hull_test_unused_code[0]; }
__attribute__((no_sanitize("thread"))) void set_first_byte(uint8_t value) {
  hull_test_unused_code[0] = value;
}

// What is in memory says little: the kernel maps more around a fault than was touched. But a page
// that was changed is the file's again once it has left memory.
TEST(ProgramText, LeavesMemoryAndStillRuns) {
  void* const page = const_cast<uint8_t*>(hull_test_unused_code);
  ASSERT_EQ(::mprotect(page, sizeof hull_test_unused_code, PROT_READ | PROT_WRITE), 0);
  set_first_byte(0x5a);
  ASSERT_EQ(::mprotect(page, sizeof hull_test_unused_code, PROT_READ | PROT_EXEC), 0);
  ASSERT_EQ(first_byte(), 0x5a);

  drop_resident_text();

  EXPECT_EQ(first_byte(), 0xcc);
  EXPECT_EQ(code_to_find(), 42);
}

}  // namespace
}  // namespace hull
