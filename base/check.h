// CHECK(condition): our own bugs. Always compiled in, no side effects inside, never on what a
// guest, an image or a user controls.
#pragma once

namespace hull {

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace hull

#define CHECK(...)                                            \
  do {                                                        \
    if (!(__VA_ARGS__)) [[unlikely]]                          \
      ::hull::check_failed(#__VA_ARGS__, __FILE__, __LINE__); \
  } while (false)
