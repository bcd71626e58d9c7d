// ACPI Machine Language, as much of it as a DSDT that only describes devices needs (ACPI 6.5,
// chapter 20; resources: 6.4). Everything is encoded canonically: iasl turns it into the same
// bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace hull::firmware {

// A resource template under construction.
class AmlResources {
 public:
  AmlResources& io(uint16_t port, uint8_t count);
  AmlResources& memory32(uint32_t base, uint32_t size_bytes);  // read-write
  // Edge-triggered, active high, not shared: the short form for ISA, the extended one from 16 up.
  AmlResources& interrupt(uint32_t gsi);
  AmlResources& extended_interrupt(uint32_t gsi);

  // What a bridge hands on to what is behind it: [first, last], fixed.
  AmlResources& bus_window(uint16_t first, uint16_t last);
  AmlResources& io_window(uint16_t first, uint16_t last);
  AmlResources& memory32_window(uint32_t first, uint32_t last);  // not cacheable, read-write
  AmlResources& memory64_window(uint64_t first, uint64_t last);

  const std::vector<uint8_t>& bytes() const { return bytes_; }  // without the end tag

 private:
  void window(uint8_t tag, unsigned width, uint8_t type, uint8_t flags, uint64_t first,
              uint64_t last);
  std::vector<uint8_t> bytes_;
};

class AmlWriter {
 public:
  // An open Scope, Device or Package; its length is filled in when it dies. Blocks nest.
  class [[nodiscard]] Block {
   public:
    Block(AmlWriter& writer, size_t start) : writer_(writer), start_(start) {}
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    ~Block() { writer_.close(start_); }

   private:
    AmlWriter& writer_;
    size_t start_;
  };

  // Names are single segments of 1 to 4 of A-Z, 0-9, _ ("_SB", "COM1"); longer is our bug.
  Block scope(std::string_view name);  // of the predefined ones, seen from the root
  Block device(std::string_view name);

  // A package of `count` elements, at most 255, which the caller writes one by one: with element(),
  // or as a package of their own.
  Block name_package(std::string_view name, unsigned count);
  Block package(unsigned count);
  void element(uint64_t value) { integer(value); }

  void name_integer(std::string_view name, uint64_t value);
  void name_string(std::string_view name, std::string_view ascii);
  void name_eisa_id(std::string_view name, std::string_view id);  // "PNP0501"
  void name_package(std::string_view name, std::initializer_list<uint64_t> integers);
  void name_resources(std::string_view name, const AmlResources& resources);

  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  void byte(unsigned value) { bytes_.push_back(static_cast<uint8_t>(value)); }
  void little_endian(uint64_t value, unsigned size_bytes);
  void segment(std::string_view name);
  void begin_name(std::string_view name);
  void integer(uint64_t value);
  void close(size_t start);

  std::vector<uint8_t> bytes_;
};

// Names for numbered devices: "C" and 7 give "C007" (three hexadecimal digits).
class AmlNumberedName {
 public:
  AmlNumberedName(char letter, unsigned number);  // number < 0x1000
  operator std::string_view() const { return {text_, sizeof text_}; }

 private:
  char text_[4];
};

}  // namespace hull::firmware
