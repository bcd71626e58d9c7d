#include "firmware/guest/console.h"

#include "firmware/guest/cpu.h"

namespace hull::guest {
namespace {

constexpr uint16_t kPort = 0x3f8;
constexpr uint16_t kFifoControl = kPort + 2;
constexpr uint16_t kLineStatus = kPort + 5;
constexpr uint8_t kDataReady = 0x01;
constexpr uint8_t kTransmitterEmpty = 0x20;
constexpr int kFifoSize = 16;  // bytes that may be written after one look at the line status

int fifo_room = 0;
bool fifo_on = false;

void put(char byte) {
  if (!fifo_on) out8(kFifoControl, 0x01);
  fifo_on = true;
  if (fifo_room == 0) {
    while ((in8(kLineStatus) & kTransmitterEmpty) == 0) pause();
    fifo_room = kFifoSize;
  }
  fifo_room--;
  out8(kPort, static_cast<uint8_t>(byte));
}

void print_number(uint64_t value, uint64_t base) {
  char digits[20];
  int count = 0;
  do {
    digits[count++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  while (count > 0) put(digits[--count]);
}

}  // namespace

void print(std::string_view text) {
  for (char byte : text) put(byte);
}

int read_serial() {
  if ((in8(kLineStatus) & kDataReady) == 0) return -1;
  return in8(kPort);
}

Line::Line(std::string_view subject) {
  print("hull-guest: ");
  print(subject);
}

Line::~Line() { print("\n"); }

Line& Line::text(std::string_view key, std::string_view value) {
  print(" ");
  print(key);
  print("=");
  print(value);
  return *this;
}

Line& Line::number(std::string_view key, uint64_t value) {
  text(key, "");
  print_number(value, 10);
  return *this;
}

Line& Line::hex(std::string_view key, uint64_t value) {
  text(key, "0x");
  print_number(value, 16);
  return *this;
}

Line& Line::words(std::string_view value) {
  print(" ");
  print(value);
  return *this;
}

}  // namespace hull::guest
