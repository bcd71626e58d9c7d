// Fixed addresses and numbers that the assembler, the linker script and the C++ code share. The
// tables have fixed places because descriptors split an address into pieces, which no relocation
// can do.
#pragma once

#define HULL_GUEST_TABLES 0x100000  // first byte of the image: page tables
#define HULL_GUEST_GDT 0x106000
#define HULL_GUEST_IDT 0x106800
#define HULL_GUEST_TSS 0x107000          // one per CPU
#define HULL_GUEST_PORT_BITMAP 0x108000  // shared by all TSSs; zeros: every port is open to CPL 3
#define HULL_GUEST_VECTORS 0x10b000      // one stub of 16 bytes per interrupt vector
#define HULL_GUEST_TRAMPOLINE 0x8000     // where the other CPUs start in real mode

#define HULL_GUEST_TSS_STRIDE 128
#define HULL_GUEST_PORT_BITMAP_SIZE 0x2001
#define HULL_GUEST_MAX_CPUS 32
#define HULL_GUEST_GDT_SIZE (0x28 + 16 * HULL_GUEST_MAX_CPUS)
#define HULL_GUEST_VECTOR_COUNT 64
#define HULL_GUEST_FIRST_IRQ_VECTOR 32
#define HULL_GUEST_SPURIOUS_VECTOR 63
#define HULL_GUEST_CPU_STACK 0x4000  // of each further CPU; its top KiB is for CPL 0

#define HULL_GUEST_KERNEL_CODE 0x08
#define HULL_GUEST_USER_CODE 0x1b
#define HULL_GUEST_USER_DATA 0x23
#define HULL_GUEST_TSS_SELECTOR 0x28

// What CPL 3 asks of CPL 0 by int3 (RAX). See cpu.h.
#define HULL_GUEST_CALL_WAIT 0
#define HULL_GUEST_CALL_CPUID 1
#define HULL_GUEST_CALL_READ_MSR 2
#define HULL_GUEST_CALL_WRITE_MSR 3
#define HULL_GUEST_CALL_STOP 4
#define HULL_GUEST_CALL_DROP_IDT 5
