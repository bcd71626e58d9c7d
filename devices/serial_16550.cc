#include "devices/serial_16550.h"

#include <utility>

#include "devices/serial_16550_registers.h"

namespace hull::devices {

using namespace uart;  // NOLINT(google-build-using-namespace): the register names

namespace {

// FCR bits 7:6, in FIFO mode.
constexpr size_t kTriggerLevels[] = {1, 4, 8, 14};

// The cable as the guest sees it when it is not in loopback: a peer that is always there.
constexpr uint8_t kPeerLines = kMsrCts | kMsrDsr | kMsrDcd;

}  // namespace

Result<std::unique_ptr<Serial16550>> Serial16550::create(std::string name,
                                                         InterruptLine& interrupt) {
  EventFd output_ready = TRY(EventFd::create());
  EventFd input_room = TRY(EventFd::create());
  return std::unique_ptr<Serial16550>(
      new Serial16550(std::move(name), interrupt, std::move(output_ready), std::move(input_room)));
}

Serial16550::Serial16550(std::string name, InterruptLine& interrupt, EventFd output_ready,
                         EventFd input_room)
    : name_(std::move(name)),
      interrupt_(interrupt),
      output_ready_(std::move(output_ready)),
      input_room_(std::move(input_room)) {}

// --- The guest's side ---------------------------------------------------------------------------

uint8_t Serial16550::read_byte(uint64_t offset) {
  MutexLock lock(mutex_);
  switch (offset) {
    case kData: return divisor_selected() ? divisor_low_ : read_data();
    case kInterruptEnable: return divisor_selected() ? divisor_high_ : interrupt_enable_;
    case kInterruptId: return read_interrupt_id();
    case kLineControl: return line_control_;
    case kModemControl: return modem_control_;
    case kLineStatus: return read_line_status();
    case kModemStatus: return read_modem_status();
    case kScratch: return scratch_;
    default: return 0xff;
  }
}

void Serial16550::write_byte(uint64_t offset, uint8_t value) {
  MutexLock lock(mutex_);
  switch (offset) {
    case kData:
      if (divisor_selected())
        divisor_low_ = value;
      else
        write_data(value);
      break;
    case kInterruptEnable:
      if (divisor_selected())
        divisor_high_ = value;
      else
        write_interrupt_enable(value);
      break;
    case kFifoControl: write_fifo_control(value); break;
    case kLineControl: line_control_ = value; break;
    case kModemControl: write_modem_control(value); break;
    case kScratch: scratch_ = value; break;
    default: break;  // LSR and MSR are read-only
  }
}

bool Serial16550::divisor_selected() const { return (line_control_ & kLcrDivisorLatch) != 0; }
bool Serial16550::loopback() const { return (modem_control_ & kMcrLoopback) != 0; }

// THRE lets a driver write a whole FIFO without looking again.
bool Serial16550::ready_to_transmit() const {
  return loopback() || output_.size() + kFifoDepth <= kReadyLimit;
}

size_t Serial16550::receive_depth() const {
  return (fifo_control_ & kFcrEnable) != 0 ? kFifoDepth : 1;
}

uint8_t Serial16550::interrupt_id() const {
  if ((interrupt_enable_ & kIerLineStatus) != 0 && overrun_) return kIirLineStatus;
  if ((interrupt_enable_ & kIerReceived) != 0 && !receive_fifo_.empty()) {
    const size_t trigger =
        (fifo_control_ & kFcrEnable) != 0 ? kTriggerLevels[fifo_control_ >> kFcrTriggerShift] : 1;
    return receive_fifo_.size() >= trigger ? kIirReceived : kIirTimeout;
  }
  if ((interrupt_enable_ & kIerTransmitEmpty) != 0 && transmit_empty_pending_)
    return kIirTransmitEmpty;
  if ((interrupt_enable_ & kIerModemStatus) != 0 && modem_deltas_ != 0) return kIirModemStatus;
  return kIirNone;
}

// In loopback mode the four outputs are wired to the four inputs (data sheet, 8.6.6).
uint8_t Serial16550::modem_lines() const {
  if (!loopback()) return kPeerLines;
  uint8_t lines = 0;
  if ((modem_control_ & kMcrRts) != 0) lines |= kMsrCts;
  if ((modem_control_ & kMcrDtr) != 0) lines |= kMsrDsr;
  if ((modem_control_ & kMcrOut1) != 0) lines |= kMsrRi;
  if ((modem_control_ & kMcrOut2) != 0) lines |= kMsrDcd;
  return lines;
}

// Sends an edge if anything is pending. Loopback forces the OUT2 pin off and with it the gate.
void Serial16550::raise() {
  const bool gate_open = (modem_control_ & kMcrOut2) != 0 && !loopback();
  if (gate_open && interrupt_id() != kIirNone) interrupt_.trigger();
}

uint8_t Serial16550::read_data() {
  if (receive_fifo_.empty()) return 0;
  const uint8_t value = receive_fifo_.pop_front();
  refill_receive_fifo();
  raise();  // for what is left, as the receiver time-out would
  return value;
}

uint8_t Serial16550::read_interrupt_id() {
  const uint8_t id = interrupt_id();
  if (id == kIirTransmitEmpty) {
    transmit_empty_pending_ = false;
    raise();
  }
  return (fifo_control_ & kFcrEnable) != 0 ? id | kIirFifosEnabled : id;
}

uint8_t Serial16550::read_line_status() {
  uint8_t status = 0;
  if (!receive_fifo_.empty()) status |= kLsrDataReady;
  if (ready_to_transmit()) status |= kLsrTransmitHoldingEmpty | kLsrTransmitterEmpty;
  if (std::exchange(overrun_, false)) {
    status |= kLsrOverrun;
    raise();
  }
  return status;
}

uint8_t Serial16550::read_modem_status() {
  const uint8_t deltas = std::exchange(modem_deltas_, 0);
  if (deltas != 0) raise();
  return modem_lines() | deltas;
}

void Serial16550::write_data(uint8_t value) {
  if (loopback())
    loop_back(value);
  else
    transmit(value);
  // One edge until the guest has read its cause: a driver that fills the FIFO gets one interrupt
  // for it, not one for each byte.
  const bool was_pending = std::exchange(transmit_empty_pending_, ready_to_transmit());
  const bool now = transmit_empty_pending_ && !was_pending;
  if (now && (interrupt_enable_ & kIerTransmitEmpty) != 0) raise();
}

void Serial16550::transmit(uint8_t value) {
  if (!output_.push(value)) {
    ++dropped_output_;
    return;
  }
  if (std::exchange(output_armed_, false)) output_ready_.signal();
}

void Serial16550::loop_back(uint8_t value) {
  if (receive_fifo_.size() >= receive_depth()) {
    overrun_ = true;
    // Without FIFOs the newer byte takes the place of the older one (8.6.3).
    if (receive_depth() != 1) {
      raise();
      return;
    }
    receive_fifo_.clear();
  }
  receive_fifo_.push(value);
  raise();
}

void Serial16550::write_interrupt_enable(uint8_t value) {
  const uint8_t enabled = value & kIerMask & static_cast<uint8_t>(~interrupt_enable_);
  interrupt_enable_ = value & kIerMask;
  // Enabling the interrupt while the transmitter is empty raises it; drivers start output so.
  if ((enabled & kIerTransmitEmpty) != 0) transmit_empty_pending_ = ready_to_transmit();
  if (enabled != 0) raise();
}

void Serial16550::write_fifo_control(uint8_t value) {
  const bool toggled = ((value ^ fifo_control_) & kFcrEnable) != 0;
  // The other bits count only together with the enable bit (8.6.4).
  fifo_control_ = (value & kFcrEnable) != 0 ? value : 0;
  if (toggled || (fifo_control_ & kFcrClearReceiver) != 0) {
    receive_fifo_.clear();
    refill_receive_fifo();
  }
  raise();  // the trigger level may be a lower one now
}

void Serial16550::write_modem_control(uint8_t value) {
  const uint8_t before = modem_lines();
  modem_control_ = value & kMcrMask;
  const uint8_t after = modem_lines();
  const uint8_t changed = before ^ after;
  if ((changed & kMsrCts) != 0) modem_deltas_ |= kMsrDeltaCts;
  if ((changed & kMsrDsr) != 0) modem_deltas_ |= kMsrDeltaDsr;
  if ((changed & before & kMsrRi) != 0) modem_deltas_ |= kMsrRingEnded;
  if ((changed & kMsrDcd) != 0) modem_deltas_ |= kMsrDeltaDcd;
  refill_receive_fifo();
  raise();
}

// The line does not reach the receiver in loopback mode; its bytes wait.
void Serial16550::refill_receive_fifo() {
  if (loopback()) return;
  while (receive_fifo_.size() < receive_depth() && !input_.empty())
    receive_fifo_.push(input_.pop_front());
  if (input_starved_ && input_.room() >= kInputCapacity / 2) {
    input_starved_ = false;
    input_room_.signal();
  }
}

// --- The host's side ----------------------------------------------------------------------------

bool Serial16550::rearm_output() {
  MutexLock lock(mutex_);
  output_armed_ = output_.size() == shown_output_;
  return output_armed_;
}

RingView Serial16550::output() {
  MutexLock lock(mutex_);
  shown_output_ = output_.size();
  return output_.view();
}

void Serial16550::consume_output(size_t count) {
  MutexLock lock(mutex_);
  CHECK(count <= shown_output_);
  shown_output_ -= count;
  const bool was_ready = ready_to_transmit();
  output_.pop(count);
  if (was_ready || !ready_to_transmit()) return;
  transmit_empty_pending_ = true;
  if ((interrupt_enable_ & kIerTransmitEmpty) != 0) raise();
}

size_t Serial16550::receive(std::span<const uint8_t> data) {
  MutexLock lock(mutex_);
  const size_t taken = input_.push(data);
  input_starved_ = taken < data.size();
  const size_t before = receive_fifo_.size();
  refill_receive_fifo();
  if (receive_fifo_.size() != before) raise();
  return taken;
}

size_t Serial16550::input_space() {
  MutexLock lock(mutex_);
  if (input_.room() == 0) input_starved_ = true;
  return input_.room();
}

size_t Serial16550::waiting_output_bytes() const {
  MutexLock lock(mutex_);
  return output_.size();
}

uint64_t Serial16550::dropped_output_bytes() const {
  MutexLock lock(mutex_);
  return dropped_output_;
}

}  // namespace hull::devices
