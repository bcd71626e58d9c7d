#include <array>
#include <vector>

#include "devices/serial_16550.h"
#include "devices/serial_16550_registers.h"

namespace hull::devices {

using namespace uart;

namespace {

std::vector<uint8_t> content_of(const ByteRing& ring) {
  const RingView view = ring.view();
  std::vector<uint8_t> content(view.first.begin(), view.first.end());
  content.insert(content.end(), view.second.begin(), view.second.end());
  return content;
}

void refill(ByteRing& ring, std::span<const uint8_t> content) {
  ring.clear();
  ring.push(content);
}

}  // namespace

void Serial16550::save(StateWriter& out) const {
  MutexLock lock(mutex_);
  const auto section = out.section(name_, 1);
  out.bytes(content_of(output_));
  out.bytes(content_of(input_));
  out.bytes(content_of(receive_fifo_));
  out.u64(dropped_output_);
  out.boolean(transmit_empty_pending_);
  out.boolean(overrun_);
  for (const uint8_t value : {modem_deltas_, interrupt_enable_, fifo_control_, line_control_,
                              modem_control_, scratch_, divisor_low_, divisor_high_})
    out.u8(value);
}

Result<void> Serial16550::load(StateReader& in) {
  StateReader section = TRY(in.section(name_, 1));
  const std::span<const uint8_t> output = section.bytes(kOutputCapacity);
  const std::span<const uint8_t> input = section.bytes(kInputCapacity);
  const std::span<const uint8_t> fifo = section.bytes(kFifoDepth);
  const uint64_t dropped = section.u64();
  const bool transmit_empty_pending = section.boolean();
  const bool overrun = section.boolean();
  std::array<uint8_t, 8> values;
  for (uint8_t& value : values) value = section.u8();
  TRY(section.end());

  MutexLock lock(mutex_);
  refill(output_, output);
  refill(input_, input);
  refill(receive_fifo_, fifo);
  dropped_output_ = dropped;
  transmit_empty_pending_ = transmit_empty_pending;
  overrun_ = overrun;
  modem_deltas_ = values[0] & kMsrDeltaMask;
  interrupt_enable_ = values[1] & kIerMask;
  fifo_control_ = (values[2] & kFcrEnable) != 0 ? values[2] : 0;
  line_control_ = values[3];
  modem_control_ = values[4] & kMcrMask;
  scratch_ = values[5];
  divisor_low_ = values[6];
  divisor_high_ = values[7];
  shown_output_ = 0;
  output_armed_ = output_.empty();
  if (!output_armed_) output_ready_.signal();
  return {};
}

}  // namespace hull::devices
