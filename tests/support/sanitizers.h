// How much slower a test is with the sanitizer that it was built with: random tests run so many
// times fewer rounds.
#pragma once

namespace hull::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr unsigned kSanitizerFactor = 8;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr unsigned kSanitizerFactor = 8;
#else
inline constexpr unsigned kSanitizerFactor = 1;
#endif
#else
inline constexpr unsigned kSanitizerFactor = 1;
#endif

}  // namespace hull::testing
