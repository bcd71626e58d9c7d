#include <sys/epoll.h>
#include <time.h>

#include <algorithm>

#include "devices/debug_exit.h"
#include "devices/i8042.h"
#include "devices/pvpanic.h"
#include "devices/reset_port.h"
#include "vmm/x86/board.h"
#include "vmm/x86/layout.h"

namespace hull::vmm::x86 {

namespace {

// From UTC, at this moment.
int64_t clock_offset_seconds(const config::ClockConfig& clock) {
  using Base = config::ClockConfig::Base;
  switch (clock.base) {
    case Base::kUtc: break;
    case Base::kLocaltime: return devices::local_time_offset_seconds() + clock.seconds;
    case Base::kAbsolute: return clock.seconds - static_cast<int64_t>(::time(nullptr));
  }
  return clock.seconds;
}

}  // namespace

// The clock's timer on the event loop.
class Board::Alarm final : public devices::AlarmTimer {
 public:
  Alarm(TimerFd timer, EventLoop& loop) : timer_(std::move(timer)), loop_(loop) {}
  ~Alarm() override { loop_.remove(timer_.fd()); }
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

  Result<void> watch(std::function<void()> expired) {
    return loop_.add(timer_.fd(), EPOLLIN, [this, expired = std::move(expired)](uint32_t) {
      if (timer_.consume()) expired();
    });
  }
  void arm(std::chrono::nanoseconds delay) override { timer_.arm(delay); }
  void disarm() override { timer_.disarm(); }

 private:
  TimerFd timer_;
  EventLoop& loop_;
};

Board::Board(const Options& options) : options_(options) {}

Board::~Board() = default;

Result<void> Board::add_devices() {
  using namespace devices;
  TRY(add_serial());
  TRY(add_power());
  TRY(add_keyboard());
  TRY(add_clock());
  auto reset = std::make_unique<ResetPort>(options_.events);
  stateful_.push_back(reset.get());
  TRY(add_device(std::move(reset), ResetPort::kBasePort, ResetPort::kPortCount));
  platform_.reset = {.port = ResetPort::kBasePort, .value = ResetPort::kResetValue};
  if (options_.domain.panic_device) {
    TRY(add_device(std::make_unique<Pvpanic>(options_.events), Pvpanic::kBasePort,
                   Pvpanic::kPortCount));
    platform_.panic_port = Pvpanic::kBasePort;
  }
  if (options_.debug_exit_port)
    TRY(add_device(std::make_unique<DebugExit>(options_.events), DebugExit::kBasePort,
                   DebugExit::kPortCount));
  return {};
}

Result<devices::InterruptLine*> Board::add_line(uint32_t gsi) {
  lines_.push_back(TRY(IrqfdLine::create(options_.vm, gsi)));
  return lines_.back().get();
}

Result<void> Board::add_ports(uint64_t base, uint64_t count, devices::BusDevice& device) {
  regions_.push_back(TRY(options_.ports.map(base, count, device)));
  return {};
}

Result<void> Board::add_device(std::unique_ptr<devices::BusDevice> device, uint64_t base,
                               uint64_t count) {
  others_.push_back(std::move(device));
  return add_ports(base, count, *others_.back());
}

Result<void> Board::add_serial() {
  devices::InterruptLine* line = TRY(add_line(kSerialGsi));
  serial_ = TRY(devices::Serial16550::create("serial0", *line));
  stateful_.push_back(serial_.get());
  platform_.serial = {.port = kSerialPort, .gsi = kSerialGsi};
  return add_ports(kSerialPort, devices::Serial16550::kPortCount, *serial_);
}

Result<void> Board::add_power() {
  using devices::AcpiPm;
  sci_ = std::make_unique<GsiLevelLine>(options_.vm, kSciGsi);
  power_ = std::make_unique<AcpiPm>(options_.events, *sci_);
  stateful_.push_back(power_.get());
  platform_.power = firmware::AcpiPowerBlock{.event_port = kAcpiPmPort + AcpiPm::kEventOffset,
                                             .control_port = kAcpiPmPort + AcpiPm::kControlOffset,
                                             .timer_port = kAcpiPmPort + AcpiPm::kTimerOffset,
                                             .sci_gsi = kSciGsi,
                                             .s5_sleep_type = AcpiPm::kSleepTypeS5};
  return add_ports(kAcpiPmPort, AcpiPm::kPortCount, *power_);
}

Result<void> Board::add_keyboard() {
  devices::InterruptLine* line = TRY(add_line(kKeyboardGsi));
  auto keyboard = std::make_unique<devices::I8042>(options_.events, *line);
  stateful_.push_back(keyboard.get());
  platform_.keyboard_controller = true;
  return add_device(std::move(keyboard), devices::I8042::kBasePort, devices::I8042::kPortCount);
}

Result<void> Board::add_clock() {
  const uint64_t memory = options_.domain.memory_bytes;
  const uint64_t low = std::min(memory, kMmioGapStart);
  devices::InterruptLine* line = TRY(add_line(kClockGsi));
  alarm_ = std::make_unique<Alarm>(TRY(TimerFd::create()), options_.loop);
  clock_ = std::make_unique<devices::RtcCmos>(
      devices::RtcOptions{.offset_seconds = clock_offset_seconds(options_.domain.clock),
                          .memory_below_4g_bytes = low,
                          .memory_above_4g_bytes = memory - low},
      *line, *alarm_);
  TRY(alarm_->watch([clock = clock_.get()] { clock->timer_expired(); }));
  stateful_.push_back(clock_.get());
  platform_.rtc = firmware::RealTimeClock{.gsi = kClockGsi};
  return add_ports(devices::RtcCmos::kBasePort, devices::RtcCmos::kPortCount, *clock_);
}

}  // namespace hull::vmm::x86
