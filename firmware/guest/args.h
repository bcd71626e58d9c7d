// The command line: words, and the arguments of one program ("blk.fill,start=0,count=2048,seed=7").
#pragma once

#include <cstdint>
#include <string_view>

namespace hull::guest {

// Takes the text up to `separator` off the front of `rest`; false when nothing is left.
bool split(std::string_view& rest, char separator, std::string_view& part);
std::string_view drop(std::string_view text, size_t count);
// Decimal or 0x…, with an optional suffix k, M or G (powers of 1024). 0 if it is not a number.
uint64_t to_number(std::string_view text);
// "10.0.0.2" as 0x0a000002; 0 if it is not an address.
uint32_t to_ipv4(std::string_view text);

class Args {
 public:
  explicit Args(std::string_view text);
  std::string_view program() const { return program_; }
  std::string_view text(std::string_view key, std::string_view otherwise = "") const;
  uint64_t number(std::string_view key, uint64_t otherwise) const;
  bool has(std::string_view key) const;  // "key" or "key=…"

 private:
  bool find(std::string_view key, std::string_view& value) const;

  std::string_view program_;
  std::string_view rest_;
};

}  // namespace hull::guest
