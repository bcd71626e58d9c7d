// Lines on ttyS0. Only the first CPU prints.
#pragma once

#include <cstdint>
#include <string_view>

namespace hull::guest {

void print(std::string_view text);
// The next byte from the serial port, or -1 if none waits.
int read_serial();

// One line "hull-guest: SUBJECT key=value …", ended by the destructor.
class Line {
 public:
  explicit Line(std::string_view subject);
  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  Line& text(std::string_view key, std::string_view value);
  Line& number(std::string_view key, uint64_t value);
  Line& hex(std::string_view key, uint64_t value);
  Line& words(std::string_view value);
};

}  // namespace hull::guest
