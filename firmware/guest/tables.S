// Page tables, GDT and IDT, complete at build time: at CPL 0 some hosts execute no more than a
// million instructions a second, so that no loop may fill them.
#include "firmware/guest/layout.h"

        .section .tables, "aw", @progbits

// Identity map, user-accessible: 4 GiB in pages of 2 MiB (every CPU has them), the rest of the first
// 512 GiB in pages of 1 GiB, which is touched only if there is RAM. Accessed and dirty are set.
        .globl page_tables
page_tables:
        .quad   HULL_GUEST_TABLES + 0x1000 + 0x7
        .fill   511, 8, 0
        .set    index, 0
        .rept   4
        .quad   HULL_GUEST_TABLES + 0x2000 + index * 0x1000 + 0x7
        .set    index, index + 1
        .endr
        .rept   508
        .quad   (index << 30) + 0xe7
        .set    index, index + 1
        .endr
        .set    index, 0
        .rept   2048
        .quad   (index << 21) + 0xe7
        .set    index, index + 1
        .endr

        .globl  gdt, gdt_end
gdt:
        .quad   0
        .quad   0x00af9b000000ffff              // 0x08: code, CPL 0
        .quad   0x00cf93000000ffff              // 0x10: data, CPL 0
        .quad   0x00affb000000ffff              // 0x1b: code, CPL 3
        .quad   0x00cff3000000ffff              // 0x23: data, CPL 3
        .set    index, 0
        .rept   HULL_GUEST_MAX_CPUS             // 0x28 + 16 n: the TSS of CPU n
        .set    address, HULL_GUEST_TSS + index * HULL_GUEST_TSS_STRIDE
        .set    limit, HULL_GUEST_PORT_BITMAP + HULL_GUEST_PORT_BITMAP_SIZE - 1 - address
        .quad   limit + ((address & 0xffffff) << 16) + (0x89 << 40) + ((address >> 24) << 56)
        .quad   0
        .set    index, index + 1
        .endr
gdt_end:

        .org    page_tables + (HULL_GUEST_IDT - HULL_GUEST_TABLES)
        .globl  idt
idt:
        .set    index, 0
        .rept   HULL_GUEST_VECTOR_COUNT
        .set    address, HULL_GUEST_VECTORS + index * 16
        .if     index == 3                      // int3 is how CPL 3 calls CPL 0
        .set    kind, 0xee00
        .else
        .set    kind, 0x8e00
        .endif
        .quad   (address & 0xffff) + (HULL_GUEST_KERNEL_CODE << 16) + (kind << 32) + ((address >> 16) << 48)
        .quad   0
        .set    index, index + 1
        .endr

        .section .tables_zero, "aw", @nobits
        .globl  tss, port_bitmap
tss:
        .skip   HULL_GUEST_MAX_CPUS * HULL_GUEST_TSS_STRIDE
port_bitmap:
        .skip   HULL_GUEST_PORT_BITMAP_SIZE

        .section .note.GNU-stack, "", @progbits
