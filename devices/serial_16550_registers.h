// Registers of the 16550A (PC16550D data sheet, section 8): offsets from the base port and bits.
#pragma once

#include <cstdint>

namespace hull::devices::uart {

// With LCR.DLAB set, 0 and 1 are the divisor latch.
inline constexpr uint64_t kData = 0;  // RBR when read, THR when written
inline constexpr uint64_t kInterruptEnable = 1;
inline constexpr uint64_t kInterruptId = 2;  // IIR when read, FCR when written
inline constexpr uint64_t kFifoControl = 2;
inline constexpr uint64_t kLineControl = 3;
inline constexpr uint64_t kModemControl = 4;
inline constexpr uint64_t kLineStatus = 5;
inline constexpr uint64_t kModemStatus = 6;
inline constexpr uint64_t kScratch = 7;
inline constexpr uint64_t kRegisterCount = 8;

inline constexpr uint8_t kIerReceived = 0x01;
inline constexpr uint8_t kIerTransmitEmpty = 0x02;
inline constexpr uint8_t kIerLineStatus = 0x04;
inline constexpr uint8_t kIerModemStatus = 0x08;
inline constexpr uint8_t kIerMask = 0x0f;

// Highest priority first.
inline constexpr uint8_t kIirLineStatus = 0x06;
inline constexpr uint8_t kIirReceived = 0x04;
inline constexpr uint8_t kIirTimeout = 0x0c;
inline constexpr uint8_t kIirTransmitEmpty = 0x02;
inline constexpr uint8_t kIirModemStatus = 0x00;
inline constexpr uint8_t kIirNone = 0x01;
inline constexpr uint8_t kIirFifosEnabled = 0xc0;

inline constexpr uint8_t kFcrEnable = 0x01;
inline constexpr uint8_t kFcrClearReceiver = 0x02;
inline constexpr unsigned kFcrTriggerShift = 6;

inline constexpr uint8_t kLcrDivisorLatch = 0x80;

inline constexpr uint8_t kMcrDtr = 0x01;
inline constexpr uint8_t kMcrRts = 0x02;
inline constexpr uint8_t kMcrOut1 = 0x04;
inline constexpr uint8_t kMcrOut2 = 0x08;  // on a PC: the gate of the interrupt line
inline constexpr uint8_t kMcrLoopback = 0x10;
inline constexpr uint8_t kMcrMask = 0x1f;

inline constexpr uint8_t kLsrDataReady = 0x01;
inline constexpr uint8_t kLsrOverrun = 0x02;
inline constexpr uint8_t kLsrTransmitHoldingEmpty = 0x20;
inline constexpr uint8_t kLsrTransmitterEmpty = 0x40;

inline constexpr uint8_t kMsrDeltaCts = 0x01;
inline constexpr uint8_t kMsrDeltaDsr = 0x02;
inline constexpr uint8_t kMsrRingEnded = 0x04;  // RI went from on to off
inline constexpr uint8_t kMsrDeltaDcd = 0x08;
inline constexpr uint8_t kMsrDeltaMask = 0x0f;
inline constexpr uint8_t kMsrCts = 0x10;
inline constexpr uint8_t kMsrDsr = 0x20;
inline constexpr uint8_t kMsrRi = 0x40;
inline constexpr uint8_t kMsrDcd = 0x80;

}  // namespace hull::devices::uart
