#include <gtest/gtest.h>

#include <fstream>

#include "base/guest_memory.h"

// AddressSanitizer and ThreadSanitizer make mlock() do nothing: their shadow memory could not be
// locked.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HULL_MLOCK_IS_VOID
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HULL_MLOCK_IS_VOID
#endif
#endif

namespace hull {
namespace {

const MemoryRegion kRange[] = {{GuestAddress{0}, 4u << 20}};

// The VmFlags line of the mapping that holds `address`.
std::string flags_of(const void* address) {
  std::ifstream smaps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  while (std::getline(smaps, line)) {
    unsigned long start = 0;
    unsigned long end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) {
      const auto wanted = reinterpret_cast<unsigned long>(address);
      inside = wanted >= start && wanted < end;
    }
    if (inside && line.starts_with("VmFlags:")) return line + " ";
  }
  return "";
}

TEST(GuestMemoryOptions, NotDumpableIsLeftOutOfCores) {
  const auto memory = GuestMemory::create(kRange, {.dumpable = false});
  ASSERT_TRUE(memory.has_value());
  const void* host = memory->slice(GuestAddress{0}, 1)->as_iovec().iov_base;
  EXPECT_NE(flags_of(host).find(" dd "), std::string::npos);
}

#ifndef HULL_MLOCK_IS_VOID
TEST(GuestMemoryOptions, LockedIsLocked) {
  const auto memory = GuestMemory::create(kRange, {.locked = true});
  ASSERT_TRUE(memory.has_value()) << memory.error().message();
  const void* host = memory->slice(GuestAddress{0}, 1)->as_iovec().iov_base;
  EXPECT_NE(flags_of(host).find(" lo "), std::string::npos);
}
#endif

// Otherwise all of a locked guest would be in small pages.
TEST(GuestMemoryOptions, LockedAsksForHugePagesFirst) {
  if (!std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled"))
    GTEST_SKIP() << "this kernel has no transparent huge pages";
  const auto memory = GuestMemory::create(kRange, {.locked = true});
  ASSERT_TRUE(memory.has_value()) << memory.error().message();
  const void* host = memory->slice(GuestAddress{0}, 1)->as_iovec().iov_base;
  EXPECT_NE(flags_of(host).find(" hg "), std::string::npos);
}

TEST(GuestMemoryOptions, HugePagesBeyondThePoolAreALackOfTheHost) {
  const MemoryRegion huge[] = {{GuestAddress{0}, 1ull << 40}};
  const auto memory = GuestMemory::create(huge, {.huge_pages = true});
  ASSERT_FALSE(memory.has_value());
  EXPECT_EQ(memory.error().kind(), ErrorKind::kHost);
}

}  // namespace
}  // namespace hull
