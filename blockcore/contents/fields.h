// Fields of structures on a disk that somebody else wrote.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace hull::blockcore {

// A copy of the bytes from the start of a structure on, with zeros where there are no more.
class Fields {
 public:
  explicit Fields(std::span<const std::byte> bytes) : bytes_(bytes) {}

  // T: Le16, Be32 and the like.
  template <class T>
  T at(size_t offset) const {
    T value{};
    if (offset <= bytes_.size() && sizeof value <= bytes_.size() - offset)
      std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }
  uint8_t byte(size_t offset) const {
    return offset < bytes_.size() ? std::to_integer<uint8_t>(bytes_[offset]) : uint8_t{0};
  }
  bool has(size_t offset, std::string_view magic) const {
    return offset <= bytes_.size() && magic.size() <= bytes_.size() - offset &&
           std::memcmp(bytes_.data() + offset, magic.data(), magic.size()) == 0;
  }
  Fields from(size_t offset) const {
    return Fields(bytes_.subspan(offset < bytes_.size() ? offset : bytes_.size()));
  }

  // Up to the first NUL, without spaces at the end; control characters and what is not UTF-8 as
  // printable() shows them.
  std::string text(size_t offset, size_t length) const;
  // UTF-16, little endian, in the same way.
  std::string text16(size_t offset, size_t length) const;
  // 16 bytes as 8-4-4-4-12 digits; empty if they are all zero.
  std::string uuid(size_t offset) const;
  // The same for a GUID of Microsoft's, of which the first three fields are little endian.
  std::string guid(size_t offset) const;

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace hull::blockcore
