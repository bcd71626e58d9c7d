// Random accesses to all legacy devices through the bus. Each step is four bytes: a port, a
// width, and what to do; two bits of them also play the host's side of the serial line.
#include <array>
#include <cstdint>
#include <span>

#include "devices/acpi_pm.h"
#include "devices/bus.h"
#include "devices/debug_exit.h"
#include "devices/i8042.h"
#include "devices/pvpanic.h"
#include "devices/reset_port.h"
#include "devices/rtc_cmos.h"
#include "devices/serial_16550.h"
#include "tests/support/fake_lines.h"

using namespace hull::devices;

namespace {

constexpr std::array<uint16_t, 8> kBases = {0x3f8, 0x60, 0x70, 0x600, 0xcf9, 0xf4, 0x505, 0};

void step(Bus::Initiator& bus, Serial16550& serial, std::span<const uint8_t> input) {
  const uint64_t port = kBases[input[0] & 7] + (input[0] >> 3);
  std::array<uint8_t, 8> data;
  data.fill(input[3]);
  const std::span access(data.data(), (input[1] & 7) + 1u);
  if ((input[1] & 8) != 0)
    bus.write(port, access);
  else
    bus.read(port, access);
  if ((input[2] & 1) != 0) serial.receive(data);
  if ((input[2] & 2) != 0) serial.consume_output(serial.output().size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  hull::testing::FakeLine line;
  hull::testing::FakeLevelLine sci;
  hull::testing::FakePowerEvents events;
  const auto serial = std::move(*Serial16550::create("serial0", line));
  I8042 keyboard(events, line);
  hull::testing::FakeTimer timer;
  RtcCmos clock({}, line, timer,
                {.time_of_day = [] { return int64_t{1'800'000'000'999'900}; },
                 .monotonic = [] { return int64_t{0}; }});
  AcpiPm pm(events, sci);
  ResetPort reset(events);
  DebugExit debug_exit(events);
  Pvpanic pvpanic(events);
  Bus bus;
  const Bus::Region regions[] = {
      *bus.map(kBases[0], Serial16550::kPortCount, *serial),
      *bus.map(I8042::kBasePort, I8042::kPortCount, keyboard),
      *bus.map(RtcCmos::kBasePort, RtcCmos::kPortCount, clock),
      *bus.map(kBases[3], AcpiPm::kPortCount, pm),
      *bus.map(ResetPort::kBasePort, ResetPort::kPortCount, reset),
      *bus.map(DebugExit::kBasePort, DebugExit::kPortCount, debug_exit),
      *bus.map(Pvpanic::kBasePort, Pvpanic::kPortCount, pvpanic),
  };
  Bus::Initiator vcpu(bus);
  for (std::span<const uint8_t> rest(bytes, size); rest.size() >= 4; rest = rest.subspan(4))
    step(vcpu, *serial, rest);
  return 0;
}
