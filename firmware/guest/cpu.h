// Instructions, and the few things that CPL 3 must ask of CPL 0.
#pragma once

#include <cstdint>

#include "firmware/guest/layout.h"

namespace hull::guest {

// What a step answers: nullptr when all went well, otherwise why not.
using Failure = const char*;

inline void out8(uint16_t port, uint8_t value) {
  asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
inline void out16(uint16_t port, uint16_t value) {
  asm volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
inline void out32(uint16_t port, uint32_t value) {
  asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}
inline uint8_t in8(uint16_t port) {
  uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
inline uint16_t in16(uint16_t port) {
  uint16_t value;
  asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
inline uint32_t in32(uint16_t port) {
  uint32_t value;
  asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

// One access of exactly that width, which the compiler neither splits nor drops. Physical
// addresses: the first 4 GiB are mapped one to one.
inline uint8_t mmio_read8(uint64_t address) {
  uint8_t value;
  asm volatile("movb (%1), %0" : "=q"(value) : "r"(address) : "memory");
  return value;
}
inline uint16_t mmio_read16(uint64_t address) {
  uint16_t value;
  asm volatile("movw (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
inline uint32_t mmio_read32(uint64_t address) {
  uint32_t value;
  asm volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
inline uint64_t mmio_read64(uint64_t address) {
  uint64_t value;
  asm volatile("movq (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
inline void mmio_write8(uint64_t address, uint8_t value) {
  asm volatile("movb %0, (%1)" : : "q"(value), "r"(address) : "memory");
}
inline void mmio_write16(uint64_t address, uint16_t value) {
  asm volatile("movw %0, (%1)" : : "r"(value), "r"(address) : "memory");
}
inline void mmio_write32(uint64_t address, uint32_t value) {
  asm volatile("movl %0, (%1)" : : "r"(value), "r"(address) : "memory");
}
inline void mmio_write64(uint64_t address, uint64_t value) {
  asm volatile("movq %0, (%1)" : : "r"(value), "r"(address) : "memory");
}

inline uint64_t read_tsc() {
  uint32_t low;
  uint32_t high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return (static_cast<uint64_t>(high) << 32) | low;
}
inline void pause() { asm volatile("pause" : : : "memory"); }

// int3 from CPL 3 (entry.S).
inline uint64_t call_cpl0(uint64_t call, uint64_t a, uint64_t b, uint64_t c) {
  asm volatile("int3" : "+a"(call), "+D"(a), "+S"(b), "+d"(c) : : "rcx", "r8", "memory", "cc");
  return call;
}

struct CpuidResult {
  uint32_t eax, ebx, ecx, edx;
};
// As CPL 0 sees it; at CPL 3 some hosts show the real CPU.
inline CpuidResult cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  CpuidResult result{};
  call_cpl0(HULL_GUEST_CALL_CPUID, leaf, subleaf, reinterpret_cast<uint64_t>(&result));
  return result;
}
inline uint64_t read_msr(uint32_t index) {
  return call_cpl0(HULL_GUEST_CALL_READ_MSR, index, 0, 0);
}
inline void write_msr(uint32_t index, uint64_t value) {
  call_cpl0(HULL_GUEST_CALL_WRITE_MSR, index, value, 0);
}
// hlt, unless `counter` differs from `seen` already; returns after any interrupt.
inline void wait_for_change(const volatile uint64_t& counter, uint64_t seen) {
  call_cpl0(HULL_GUEST_CALL_WAIT, reinterpret_cast<uint64_t>(&counter), seen, 0);
}
[[noreturn]] inline void stop_cpu() {
  for (;;) call_cpl0(HULL_GUEST_CALL_STOP, 0, 0, 0);
}
[[noreturn]] inline void triple_fault() {
  for (;;) call_cpl0(HULL_GUEST_CALL_DROP_IDT, 0, 0, 0);
}

}  // namespace hull::guest
