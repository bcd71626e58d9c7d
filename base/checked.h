// Arithmetic on numbers that a guest, an image or a document supplied.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace hull {

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) {
  T sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_multiply(T a, T b) {
  T product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// [offset, offset + length) lies inside [0, limit), without computing offset + length.
template <std::unsigned_integral T>
[[nodiscard]] constexpr bool range_fits(T offset, T length, T limit) {
  return offset <= limit && length <= limit - offset;
}

// `alignment` is a power of two. The caller has bounded `value`.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T align_down(T value, T alignment) {
  return value & ~(alignment - 1);
}
template <std::unsigned_integral T>
[[nodiscard]] constexpr T align_up(T value, T alignment) {
  return align_down(static_cast<T>(value + alignment - 1), alignment);
}
template <std::unsigned_integral T>
[[nodiscard]] constexpr bool is_aligned(T value, T alignment) {
  return (value & (alignment - 1)) == 0;
}
template <std::unsigned_integral T>
[[nodiscard]] constexpr T divide_up(T value, T divisor) {
  return static_cast<T>(value / divisor + (value % divisor != 0));
}

}  // namespace hull
