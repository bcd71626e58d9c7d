// The small devices: rng, rtc, the serial port under load and as input, odd accesses everywhere.
#include <cstring>

#include "firmware/guest/clock.h"
#include "firmware/guest/console.h"
#include "firmware/guest/interrupts.h"
#include "firmware/guest/memory.h"
#include "firmware/guest/program.h"
#include "firmware/guest/virtqueue.h"

namespace hull::guest {
namespace {

// virtio-rng (virtio 1.2, 5.4): fills a buffer in as many requests as the device takes.
Failure rng(const Args& args) {
  MmioDevice device;
  Virtqueue queue;
  if (Failure failure = device.find(kEntropyDevice, args.number("dev", 0))) return failure;
  if (Failure failure = device.negotiate(kFeatureIndirect | kFeatureEventIdx)) return failure;
  if (Failure failure = queue.set_up(device, 0, 8)) return failure;
  if (Failure failure = device.start()) return failure;
  const uint64_t wanted = args.number("bytes", 64);
  auto* bytes = static_cast<uint8_t*>(allocate(wanted));
  if (bytes == nullptr || wanted > UINT32_MAX) return "no memory for so many bytes";
  uint64_t requests = 0;
  for (uint64_t have = 0; have < wanted; requests++) {
    const Segment segment[] = {{bytes + have, static_cast<uint32_t>(wanted - have), true}};
    queue.add(segment);
    queue.kick();
    Completion completion;
    if (Failure failure = queue.wait(completion)) return failure;
    if (completion.length == 0 || completion.length > wanted - have) return "wrong length";
    have += completion.length;
  }
  uint64_t ones = 0;
  for (uint64_t i = 0; i < wanted * 8; i++) ones += (bytes[i / 8] >> (i % 8)) & 1u;
  uint64_t first = 0;
  memcpy(&first, bytes, wanted < 8 ? wanted : 8);
  Line("rng")
      .number("bytes", wanted)
      .number("requests", requests)
      .number("ones", ones)
      .hex("first", first);
  // 64 bytes that are less than a quarter or more than three quarters ones are no noise.
  return wanted < 64 || (ones > wanted * 2 && ones < wanted * 6) ? nullptr
                                                                 : "these bytes are not random";
}

uint8_t read_cmos(uint8_t index) {
  out8(0x70, index);
  return in8(0x71);
}

uint64_t from_bcd(uint8_t value) { return (value >> 4) * 10u + (value & 15u); }

Failure rtc(const Args&) {
  const Deadline deadline(2000);
  while ((read_cmos(0x0a) & 0x80) != 0) {
    if (deadline.passed()) return "the clock is always updating";
  }
  const bool binary = (read_cmos(0x0b) & 4) != 0;
  const auto field = [&](uint8_t index) {
    const uint8_t raw = read_cmos(index);
    return binary ? uint64_t{raw} : from_bcd(raw);
  };
  const uint64_t month = field(8);
  const uint64_t day = field(7);
  Line("rtc")
      .number("year", field(0x32) * 100 + field(9))
      .number("month", month)
      .number("day", day)
      .number("hour", field(4))
      .number("minute", field(2))
      .number("second", field(0));
  return month >= 1 && month <= 12 && day >= 1 && day <= 31 ? nullptr : "no date";
}

void write_cmos(uint8_t index, uint8_t value) {
  out8(0x70, index);
  out8(0x71, value);
}

// Waits for one interrupt of the clock with `enable` set in register B; what C then says.
uint8_t clock_event(uint8_t enable, const volatile uint64_t& interrupts) {
  read_cmos(0x0c);
  const uint64_t before = interrupts;
  write_cmos(0x0b, static_cast<uint8_t>(0x02 | enable));
  const Deadline deadline(20'000);
  while (interrupts == before && !deadline.passed()) pause();
  const uint8_t events = interrupts == before ? uint8_t{0} : read_cmos(0x0c);
  write_cmos(0x0b, 0x02);
  return events;
}

// The three interrupts of the clock: IRQ 8.
Failure rtc_alarm(const Args&) {
  const uint8_t vector = enable_interrupt(8);
  const volatile uint64_t& interrupts = interrupt_count(vector);
  write_cmos(0x0a, 0x26);                                                   // 1024 Hz
  for (uint8_t index = 1; index <= 5; index += 2) write_cmos(index, 0xff);  // every second
  const uint8_t periodic = clock_event(0x40, interrupts);
  const uint8_t update = clock_event(0x10, interrupts);
  const uint8_t alarm = clock_event(0x20, interrupts);
  disable_interrupt(8);
  Line("rtc.alarm").hex("periodic", periodic).hex("update", update).hex("alarm", alarm);
  const bool all = (periodic & 0xc0) == 0xc0 && (update & 0x90) == 0x90 && (alarm & 0xa0) == 0xa0;
  return all ? nullptr : "an interrupt of the clock is missing";
}

constexpr size_t kFloodLine = 64;

// Lines of 64 bytes: "flood " and the number of the line in 16 digits, then dots.
Failure flood(const Args& args) {
  const uint64_t lines = args.number("bytes", 65536) / kFloodLine;
  char line[] = "flood 0000000000000000.........................................\n";
  static_assert(sizeof(line) == kFloodLine + 1);
  for (uint64_t i = 0; i < lines; i++) {
    uint64_t rest = i;
    for (int digit = 21; digit >= 6; digit--, rest /= 10)
      line[digit] = static_cast<char>('0' + rest % 10);
    print({line, kFloodLine});
  }
  Line("serial.flood").number("lines", lines);
  return nullptr;
}

// Repeats every line that comes in, until the line that until= names.
Failure echo(const Args& args) {
  const std::string_view until = args.text("until", "quit");
  const Deadline deadline(args.number("seconds", 60) * 1000);
  char line[256];
  size_t size = 0;
  Line("serial.echo").words("ready");
  while (!deadline.passed()) {
    const int byte = read_serial();
    if (byte < 0) {
      pause();
    } else if (byte != '\n' && byte != '\r') {
      if (size < sizeof(line)) line[size++] = static_cast<char>(byte);
    } else {
      const std::string_view text(line, size);
      Line("serial.echo").text("line", text);
      if (text == until) return nullptr;
      size = 0;
    }
  }
  return "nobody said the word";
}

// Every width at every port. Writes only where write= gives a value: some ports end the machine.
Failure sweep_ports(const Args& args) {
  const uint64_t last = args.number("to", 0xffff);
  const auto value = static_cast<uint32_t>(args.number("write", 0));
  uint64_t ones = 0;
  for (uint64_t i = args.number("from", 0); i <= last && i <= 0xffff; i++) {
    const auto port = static_cast<uint16_t>(i);
    if (args.has("write")) {
      out8(port, static_cast<uint8_t>(value));
      out16(port, static_cast<uint16_t>(value));
      out32(port, value);
    } else {
      ones += (in8(port) == 0xff ? 1u : 0u) + (in16(port) == 0xffff ? 1u : 0u) +
              (in32(port) == ~0u ? 1u : 0u);
    }
  }
  Line("sweep.port").number("all-ones", ones);
  return nullptr;
}

void touch(uint64_t address, const Args& args) {
  if (args.has("write")) {
    const uint64_t value = args.number("write", 0);
    mmio_write8(address, static_cast<uint8_t>(value));
    mmio_write16(address, static_cast<uint16_t>(value));
    mmio_write32(address, static_cast<uint32_t>(value));
    mmio_write64(address, value);
    return;
  }
  mmio_read8(address);
  mmio_read16(address);
  mmio_read32(address);
  mmio_read64(address);
}

// Every width at every address, aligned or not, from from= for size= bytes.
Failure sweep_mmio(const Args& args) {
  const uint64_t from = args.number("from", 0xd0000000);
  const uint64_t size = args.number("size", 0x2000);
  for (uint64_t i = 0; i < size; i++) touch(from + i, args);
  Line("sweep.mmio").hex("from", from).number("addresses", size);
  return nullptr;
}

// Reads of nothing are all ones, writes to nothing are dropped.
Failure nowhere(const Args& args) {
  const uint64_t address = args.number("address", 0xe0000000);
  const auto port = static_cast<uint16_t>(args.number("port", 0x5658));
  mmio_write32(address, 0x12345678);
  mmio_write64(address + 4, 0x12345678);
  out32(port, 0x12345678);
  const uint64_t wide = mmio_read64(address);
  const uint32_t narrow = mmio_read32(address + 2);
  Line("nowhere").hex("mmio64", wide).hex("mmio32", narrow).hex("port", in32(port));
  return wide == ~uint64_t{0} && narrow == ~0u && in32(port) == ~0u ? nullptr : "not all ones";
}

constexpr Program kPrograms[] = {
    {"rng", rng},
    {"rtc", rtc},
    {"rtc.alarm", rtc_alarm},
    {"serial.flood", flood},
    {"serial.echo", echo},
    {"sweep.port", sweep_ports},
    {"sweep.mmio", sweep_mmio},
    {"nowhere", nowhere},
};

}  // namespace

std::span<const Program> device_programs() { return kPrograms; }

}  // namespace hull::guest
