#include "devices/serial_16550.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "devices/serial_16550_registers.h"
#include "tests/support/fake_lines.h"
#include "tests/support/port_access.h"

namespace hull::devices {
namespace {

using namespace uart;
using hull::testing::in8;
using hull::testing::out8;

constexpr uint8_t kReady = kLsrTransmitHoldingEmpty | kLsrTransmitterEmpty;

class SerialTest : public ::testing::Test {
 protected:
  void SetUp() override { serial_ = std::move(*Serial16550::create("serial0", line_)); }

  uint8_t in(uint64_t offset) { return in8(*serial_, offset); }
  void out(uint64_t offset, uint8_t value) { out8(*serial_, offset, value); }
  // As an interrupt-driven driver sets the port up.
  void enable_interrupts(uint8_t enable) {
    out(kModemControl, kMcrDtr | kMcrRts | kMcrOut2);
    out(kInterruptEnable, enable);
  }
  void enable_fifos(uint8_t trigger = 0) {
    out(kFifoControl, static_cast<uint8_t>(kFcrEnable | trigger << kFcrTriggerShift));
  }
  size_t receive(std::string_view text) {
    return serial_->receive({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }
  std::string take_output() {
    const RingView view = serial_->output();
    std::string text(view.first.begin(), view.first.end());
    text.append(view.second.begin(), view.second.end());
    serial_->consume_output(text.size());
    return text;
  }
  uint8_t interrupt_id() { return in(kInterruptId) & 0x0f; }
  void fill_output() {
    while ((in(kLineStatus)&kReady) != 0) out(kData, 'x');
  }

  hull::testing::FakeLine line_;
  std::unique_ptr<Serial16550> serial_;
};

TEST_F(SerialTest, ResetValuesAreTheDataSheets) {
  EXPECT_EQ(in(kInterruptEnable), 0);
  EXPECT_EQ(in(kInterruptId), kIirNone);
  EXPECT_EQ(in(kLineControl), 0);
  EXPECT_EQ(in(kModemControl), 0);
  EXPECT_EQ(in(kLineStatus), kReady);
  EXPECT_EQ(in(kModemStatus), kMsrCts | kMsrDsr | kMsrDcd);
}

TEST_F(SerialTest, ScratchAndLineControlKeepTheirValue) {
  out(kScratch, 0xa5);
  out(kLineControl, 0x1b);
  EXPECT_EQ(in(kScratch), 0xa5);
  EXPECT_EQ(in(kLineControl), 0x1b);
}

TEST_F(SerialTest, DivisorLatchHidesDataAndInterruptEnable) {
  out(kLineControl, kLcrDivisorLatch);
  out(kData, 0x34);
  out(kInterruptEnable, 0x12);
  EXPECT_EQ(in(kData), 0x34);
  EXPECT_EQ(in(kInterruptEnable), 0x12);
  out(kLineControl, 0x03);
  EXPECT_EQ(in(kInterruptEnable), 0);
  EXPECT_EQ(take_output(), "");
}

TEST_F(SerialTest, ReservedBitsReadAsZero) {
  out(kInterruptEnable, 0xff);
  out(kModemControl, 0xff);
  EXPECT_EQ(in(kInterruptEnable), 0x0f);
  EXPECT_EQ(in(kModemControl), 0x1f);
}

TEST_F(SerialTest, FifoBitsShowThatThePartIsA16550A) {
  EXPECT_EQ(in(kInterruptId)&kIirFifosEnabled, 0);
  enable_fifos();
  EXPECT_EQ(in(kInterruptId)&kIirFifosEnabled, kIirFifosEnabled);
}

TEST_F(SerialTest, WideAccessIsOneAccessPerRegister) {
  hull::testing::out<uint16_t>(*serial_, kModemControl, 0x0b);
  EXPECT_EQ(hull::testing::in<uint16_t>(*serial_, kModemControl), 0x600b);
  EXPECT_EQ(in(kModemControl), 0x0b);
}

TEST_F(SerialTest, TransmittedBytesReachTheRing) {
  out(kData, 'o');
  out(kData, 'k');
  EXPECT_EQ(take_output(), "ok");
  EXPECT_EQ(line_.edges(), 0u);
}

TEST_F(SerialTest, OutputEventComesOncePerArming) {
  out(kData, 'a');
  EXPECT_TRUE(serial_->output_ready().consume());
  out(kData, 'b');
  EXPECT_FALSE(serial_->output_ready().consume());
  EXPECT_FALSE(serial_->rearm_output());  // nobody has looked yet
  take_output();
  EXPECT_TRUE(serial_->rearm_output());
  out(kData, 'c');
  EXPECT_TRUE(serial_->output_ready().consume());
}

TEST_F(SerialTest, OutputThatWasShownButNotTakenAllowsArming) {
  out(kData, 'a');
  serial_->output_ready().consume();
  EXPECT_EQ(serial_->output().size(), 1u);
  EXPECT_TRUE(serial_->rearm_output());
  out(kData, 'b');
  EXPECT_TRUE(serial_->output_ready().consume());
}

TEST_F(SerialTest, FullRingIsABusyTransmitterUntilDrained) {
  fill_output();
  EXPECT_EQ(in(kLineStatus)&kReady, 0);
  EXPECT_GT(serial_->output().size(), Serial16550::kReadyLimit - Serial16550::kFifoDepth);
  take_output();
  EXPECT_EQ(in(kLineStatus)&kReady, kReady);
}

// A driver that saw THRE writes a whole FIFO without looking again.
TEST_F(SerialTest, ReadyMeansRoomForAWholeFifo) {
  size_t written = 0;
  while ((in(kLineStatus)&kReady) != 0) {
    for (size_t i = 0; i < Serial16550::kFifoDepth; ++i) out(kData, 'x');
    written += Serial16550::kFifoDepth;
  }
  EXPECT_EQ(take_output().size(), written);
  EXPECT_LE(written, Serial16550::kReadyLimit);
}

TEST_F(SerialTest, BytesBeyondCapacityAreDroppedAndCounted) {
  for (size_t i = 0; i < Serial16550::kOutputCapacity + 5; ++i) out(kData, 'x');
  EXPECT_EQ(serial_->dropped_output_bytes(), 5u);
  EXPECT_EQ(take_output().size(), Serial16550::kOutputCapacity);
}

TEST_F(SerialTest, EnablingTransmitInterruptRaisesItEachTime) {
  enable_interrupts(kIerTransmitEmpty);
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_EQ(interrupt_id(), kIirTransmitEmpty);
  EXPECT_EQ(interrupt_id(), kIirNone);  // reading it acknowledged it
  out(kInterruptEnable, 0);
  out(kInterruptEnable, kIerTransmitEmpty);
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_EQ(interrupt_id(), kIirTransmitEmpty);
}

TEST_F(SerialTest, EveryByteRaisesTransmitInterruptAgain) {
  enable_interrupts(kIerTransmitEmpty);
  interrupt_id();
  line_.take_edges();
  out(kData, 'a');
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_EQ(interrupt_id(), kIirTransmitEmpty);
}

// Each interrupt costs a system call: one is enough until the driver has read its cause.
TEST_F(SerialTest, AFifoThatIsFilledAtOnceRaisesOneInterrupt) {
  enable_fifos();
  enable_interrupts(kIerTransmitEmpty);
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(interrupt_id(), kIirTransmitEmpty);
    line_.take_edges();
    for (size_t i = 0; i < Serial16550::kFifoDepth; ++i) out(kData, 'x');
    EXPECT_EQ(line_.take_edges(), 1u);
  }
  // One that closed the gate meanwhile hears of it when it opens it again.
  EXPECT_EQ(interrupt_id(), kIirTransmitEmpty);
  out(kModemControl, 0);
  out(kData, 'x');
  line_.take_edges();
  out(kModemControl, kMcrOut2);
  EXPECT_EQ(line_.take_edges(), 1u);
}

TEST_F(SerialTest, DrainingAFullRingRaisesTransmitInterrupt) {
  enable_interrupts(kIerTransmitEmpty);
  fill_output();
  interrupt_id();
  line_.take_edges();
  EXPECT_EQ(interrupt_id(), kIirNone);
  take_output();
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_EQ(interrupt_id(), kIirTransmitEmpty);
}

TEST_F(SerialTest, ReceivedByteInterruptsAndIsRead) {
  enable_interrupts(kIerReceived);
  EXPECT_EQ(receive("A"), 1u);
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_EQ(interrupt_id(), kIirReceived);
  EXPECT_EQ(in(kLineStatus), kReady | kLsrDataReady);
  EXPECT_EQ(in(kData), 'A');
  EXPECT_EQ(interrupt_id(), kIirNone);
  EXPECT_EQ(in(kLineStatus), kReady);
  EXPECT_EQ(line_.take_edges(), 0u);
}

TEST_F(SerialTest, FewerBytesThanTriggerAreATimeout) {
  enable_fifos(2);  // 8 bytes
  enable_interrupts(kIerReceived);
  receive("1234567");
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_EQ(interrupt_id(), kIirTimeout);
  receive("8");
  EXPECT_EQ(interrupt_id(), kIirReceived);
}

// A driver that takes one byte per interrupt gets them all.
TEST_F(SerialTest, EachReadWithMoreWaitingIsAnotherEdge) {
  enable_fifos();
  enable_interrupts(kIerReceived);
  const std::string sent(100, 'q');
  receive(sent);
  size_t read = 0;
  while (line_.take_edges() != 0) {
    ASSERT_NE(interrupt_id(), kIirNone);
    in(kData);
    ++read;
  }
  EXPECT_EQ(read, sent.size());
}

TEST_F(SerialTest, PrioritiesAreTheDataSheets) {
  enable_interrupts(kIerMask);
  out(kModemControl, kMcrLoopback);  // the modem lines fall
  out(kData, 'a');
  out(kData, 'b');  // overruns the single holding register
  EXPECT_EQ(interrupt_id(), kIirLineStatus);
  EXPECT_NE(in(kLineStatus)&kLsrOverrun, 0);
  EXPECT_EQ(interrupt_id(), kIirReceived);
  EXPECT_EQ(in(kData), 'b');
  EXPECT_EQ(interrupt_id(), kIirTransmitEmpty);
  EXPECT_EQ(interrupt_id(), kIirModemStatus);
  in(kModemStatus);
  EXPECT_EQ(interrupt_id(), kIirNone);
}

TEST_F(SerialTest, AcknowledgingOneConditionSignalsTheNext) {
  enable_interrupts(kIerReceived | kIerTransmitEmpty);
  receive("x");
  line_.take_edges();
  in(kData);  // the transmitter is still empty and not acknowledged
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_EQ(interrupt_id(), kIirTransmitEmpty);
  EXPECT_EQ(line_.take_edges(), 0u);
}

TEST_F(SerialTest, Out2GatesTheInterrupt) {
  out(kInterruptEnable, kIerReceived);
  receive("x");
  EXPECT_EQ(line_.take_edges(), 0u);
  EXPECT_EQ(interrupt_id(), kIirReceived);
  out(kModemControl, kMcrOut2);
  EXPECT_EQ(line_.take_edges(), 1u);
}

TEST_F(SerialTest, LoopbackReturnsBytesAndSendsNothing) {
  enable_fifos();
  out(kModemControl, kMcrLoopback);
  for (int i = 0; i < 16; ++i) out(kData, static_cast<uint8_t>('a' + i));
  EXPECT_EQ(in(kLineStatus)&kLsrOverrun, 0);
  out(kData, '!');
  EXPECT_NE(in(kLineStatus)&kLsrOverrun, 0);
  EXPECT_EQ(in(kLineStatus)&kLsrOverrun, 0);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(in(kData), 'a' + i);
  EXPECT_EQ(in(kLineStatus)&kLsrDataReady, 0);
  EXPECT_EQ(take_output(), "");
}

TEST_F(SerialTest, HostInputWaitsForTheEndOfLoopback) {
  out(kModemControl, kMcrLoopback);
  EXPECT_EQ(receive("x"), 1u);
  EXPECT_EQ(in(kLineStatus)&kLsrDataReady, 0);
  out(kModemControl, 0);
  EXPECT_EQ(in(kData), 'x');
}

// What Linux writes to find out whether there is a UART at all.
TEST_F(SerialTest, LoopbackWiresModemOutputsToInputs) {
  out(kModemControl, kMcrLoopback | kMcrRts | kMcrOut2);
  EXPECT_EQ(in(kModemStatus) & 0xf0, 0x90);
  out(kModemControl, kMcrLoopback | kMcrDtr | kMcrOut1);
  EXPECT_EQ(in(kModemStatus), kMsrDsr | kMsrRi | kMsrDeltaCts | kMsrDeltaDsr | kMsrDeltaDcd);
  EXPECT_EQ(in(kModemStatus), kMsrDsr | kMsrRi);
  out(kModemControl, kMcrLoopback | kMcrDtr);
  EXPECT_EQ(in(kModemStatus), kMsrDsr | kMsrRingEnded);
}

TEST_F(SerialTest, FifoResetDropsWhatTheGuestHasNotRead) {
  enable_fifos();
  receive("old");
  out(kFifoControl, kFcrEnable | kFcrClearReceiver);
  EXPECT_EQ(in(kLineStatus)&kLsrDataReady, 0);
  receive("new");
  EXPECT_EQ(in(kData), 'n');
  out(kFifoControl, 0);  // switching FIFOs off clears them as well
  EXPECT_EQ(in(kLineStatus)&kLsrDataReady, 0);
}

TEST_F(SerialTest, InputBeyondTheRingIsLeftToTheHost) {
  const std::string sent(Serial16550::kInputCapacity + 100, 'i');
  const size_t taken = receive(sent);
  EXPECT_EQ(taken, Serial16550::kInputCapacity);
  EXPECT_FALSE(serial_->input_room().consume());
  size_t read = 0;
  while ((in(kLineStatus)&kLsrDataReady) != 0) {
    in(kData);
    ++read;
  }
  EXPECT_EQ(read, taken);
  EXPECT_TRUE(serial_->input_room().consume());
  EXPECT_EQ(serial_->input_space(), Serial16550::kInputCapacity);
}

// Both sides at once, for the thread sanitizer; and nothing is lost or reordered.
TEST_F(SerialTest, BothSidesRunAtOnce) {
  constexpr size_t kBytes = 200000;
  enable_fifos();
  enable_interrupts(kIerReceived | kIerTransmitEmpty);
  std::string guest_got;
  std::thread guest([&] {
    size_t sent = 0;
    while (sent < kBytes || guest_got.size() < kBytes) {
      const uint8_t status = in(kLineStatus);
      if ((status & kLsrDataReady) != 0) guest_got += static_cast<char>(in(kData));
      if ((status & kLsrTransmitHoldingEmpty) != 0 && sent < kBytes)
        out(kData, static_cast<uint8_t>('a' + sent++ % 26));
    }
  });
  std::string host_got, host_sends;
  for (size_t i = 0; i < kBytes; ++i) host_sends += static_cast<char>('A' + i % 26);
  size_t host_sent = 0;
  while (host_got.size() < kBytes || host_sent < kBytes) {
    host_got += take_output();
    serial_->rearm_output();
    host_sent += receive(std::string_view(host_sends).substr(host_sent, 1000));
  }
  guest.join();
  EXPECT_EQ(guest_got, host_sends);
  for (size_t i = 0; i < kBytes; ++i) ASSERT_EQ(host_got[i], static_cast<char>('a' + i % 26));
}

}  // namespace
}  // namespace hull::devices
