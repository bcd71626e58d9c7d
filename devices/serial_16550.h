// A 16550A UART with 16-byte FIFOs (PC16550D data sheet), without a line speed.
//
// Guest to host: bytes go into a ring that the host side drains. While kReadyLimit bytes or more
// wait, LSR.THRE and TEMT stay clear and no THRE interrupt comes, so the guest waits as with a slow
// line and nothing is lost. Linux writes anyway after polling for some milliseconds; such bytes are
// still kept, up to kOutputCapacity. Beyond that they are dropped and counted; the console
// reports it.
//
// Host to guest: receive() takes what fits into a ring, the FIFO is refilled from it, and the
// caller stops reading its source when the ring is full. The receiver time-out comes at once when
// fewer bytes than the trigger level wait. Only loopback can overrun.
//
// Interrupts are edges: every event that makes a condition true is one, and so is every read that
// acknowledges one condition while another still holds.
//
// The register side runs on any vCPU thread, the host side on the console's; neither blocks.
#pragma once

#include <memory>
#include <string>

#include "base/event_fd.h"
#include "base/mutex.h"
#include "base/state.h"
#include "devices/byte_device.h"
#include "devices/console/byte_ring.h"
#include "devices/interrupt_line.h"

namespace hull::devices {

class Serial16550 final : public ByteDevice, public Stateful {
 public:
  static constexpr uint64_t kPortCount = 8;
  static constexpr size_t kFifoDepth = 16;
  static constexpr size_t kReadyLimit = 64 * 1024;
  static constexpr size_t kOutputCapacity = 256 * 1024;
  static constexpr size_t kInputCapacity = 4096;

  // `interrupt` is borrowed for the life of the device.
  static Result<std::unique_ptr<Serial16550>> create(std::string name, InterruptLine& interrupt);

  std::string_view name() const override { return name_; }
  // With the bytes that wait in either direction, which the new one's console gets.
  void save(StateWriter& out) const override;
  Result<void> load(StateReader& in) override;

  // Host side. output_ready() is signalled once, for the first byte after rearm_output(), which
  // returns false and arms nothing if there is output that output() has not shown yet.
  const EventFd& output_ready() const { return output_ready_; }
  bool rearm_output();
  RingView output();                  // stays valid until consumed
  void consume_output(size_t count);  // at most what output() showed

  // Takes a prefix of `data` and returns its length. After it took less than everything,
  // input_room() is signalled once there is room again.
  size_t receive(std::span<const uint8_t> data);
  const EventFd& input_room() const { return input_room_; }
  size_t input_space();  // bytes that receive() would take; 0 arms input_room()

  size_t waiting_output_bytes() const;
  uint64_t dropped_output_bytes() const;

 private:
  Serial16550(std::string name, InterruptLine& interrupt, EventFd output_ready, EventFd input_room);

  uint8_t read_byte(uint64_t offset) override;
  void write_byte(uint64_t offset, uint8_t value) override;

  bool divisor_selected() const REQUIRES(mutex_);
  bool loopback() const REQUIRES(mutex_);
  bool ready_to_transmit() const REQUIRES(mutex_);
  size_t receive_depth() const REQUIRES(mutex_);
  uint8_t interrupt_id() const REQUIRES(mutex_);
  uint8_t modem_lines() const REQUIRES(mutex_);
  void raise() REQUIRES(mutex_);

  uint8_t read_data() REQUIRES(mutex_);
  uint8_t read_interrupt_id() REQUIRES(mutex_);
  uint8_t read_line_status() REQUIRES(mutex_);
  uint8_t read_modem_status() REQUIRES(mutex_);
  void write_data(uint8_t value) REQUIRES(mutex_);
  void write_interrupt_enable(uint8_t value) REQUIRES(mutex_);
  void write_fifo_control(uint8_t value) REQUIRES(mutex_);
  void write_modem_control(uint8_t value) REQUIRES(mutex_);

  void transmit(uint8_t value) REQUIRES(mutex_);
  void loop_back(uint8_t value) REQUIRES(mutex_);
  void refill_receive_fifo() REQUIRES(mutex_);

  const std::string name_;
  InterruptLine& interrupt_;
  const EventFd output_ready_;
  const EventFd input_room_;

  mutable Mutex mutex_;
  ByteRing output_ GUARDED_BY(mutex_){kOutputCapacity};
  ByteRing input_ GUARDED_BY(mutex_){kInputCapacity};
  ByteRing receive_fifo_ GUARDED_BY(mutex_){kFifoDepth};
  uint64_t dropped_output_ GUARDED_BY(mutex_) = 0;
  size_t shown_output_ GUARDED_BY(mutex_) = 0;  // bytes of the ring that output() has shown
  bool output_armed_ GUARDED_BY(mutex_) = true;
  bool input_starved_ GUARDED_BY(mutex_) = false;
  bool transmit_empty_pending_ GUARDED_BY(mutex_) = false;
  bool overrun_ GUARDED_BY(mutex_) = false;
  uint8_t modem_deltas_ GUARDED_BY(mutex_) = 0;
  uint8_t interrupt_enable_ GUARDED_BY(mutex_) = 0;
  uint8_t fifo_control_ GUARDED_BY(mutex_) = 0;
  uint8_t line_control_ GUARDED_BY(mutex_) = 0;
  uint8_t modem_control_ GUARDED_BY(mutex_) = 0;
  uint8_t scratch_ GUARDED_BY(mutex_) = 0;
  uint8_t divisor_low_ GUARDED_BY(mutex_) = 12;  // 9600 baud; no effect
  uint8_t divisor_high_ GUARDED_BY(mutex_) = 0;
};

}  // namespace hull::devices
