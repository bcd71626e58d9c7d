// Integers of stated byte order, alignment 1: the building blocks of wire and disk structs, which
// mirror the specification field by field and end with a static_assert on their size.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace hull {

template <class T, std::endian kOrder>
class EndianInteger {
  static_assert(std::is_unsigned_v<T>);

 public:
  EndianInteger() = default;
  constexpr EndianInteger(T value) : bytes_(std::bit_cast<Bytes>(convert(value))) {}
  constexpr operator T() const { return get(); }
  constexpr T get() const { return convert(std::bit_cast<T>(bytes_)); }

 private:
  struct Bytes {
    unsigned char at[sizeof(T)];
  };
  static constexpr T convert(T value) {
    if constexpr (kOrder == std::endian::native || sizeof(T) == 1)
      return value;
    else if constexpr (sizeof(T) == 2)
      return __builtin_bswap16(value);
    else if constexpr (sizeof(T) == 4)
      return __builtin_bswap32(value);
    else
      return __builtin_bswap64(value);
  }
  Bytes bytes_;
};

using Le16 = EndianInteger<uint16_t, std::endian::little>;
using Le32 = EndianInteger<uint32_t, std::endian::little>;
using Le64 = EndianInteger<uint64_t, std::endian::little>;
using Be16 = EndianInteger<uint16_t, std::endian::big>;
using Be32 = EndianInteger<uint32_t, std::endian::big>;
using Be64 = EndianInteger<uint64_t, std::endian::big>;

static_assert(sizeof(Be64) == 8 && alignof(Be64) == 1 && std::is_trivially_copyable_v<Be64>);

}  // namespace hull
