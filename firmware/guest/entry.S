// The way from the PVH entry (32-bit protected mode, paging off, EBX = hvm_start_info) to C++ at
// CPL 3, where everything runs natively on every host. Port I/O works there through the TSS's bitmap: not
// every host keeps IOPL 3 over an iretq. What stays at CPL 0 is short: the stubs below and int3, by which
// CPL 3 asks for cpuid, MSRs and hlt.
#include "firmware/guest/layout.h"

        .section .note.pvh, "a", @note
        .long   4, 4, 18                        // XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .long   start32

        .text
        .code32
        .globl  start32
start32:
        movw    $0x3f8, %dx                     // the first letter of "hull-guest: start", as early as can be
        movb    $'h', %al
        outb    %al, %dx
        movl    %ebx, start_info_address
        lgdt    gdt_pointer
        movl    %cr4, %eax
        orl     $0x20, %eax                     // PAE
        movl    %eax, %cr4
        movl    $page_tables, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx               // EFER: long mode
        rdmsr
        orl     $0x100, %eax
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000001, %eax
        movl    %eax, %cr0
        ljmp    $HULL_GUEST_KERNEL_CODE, $start64

        .code64
start64:
        lidt    idt_pointer
        movq    $cpu0_kernel_stack_end, %rsp
        movq    %rsp, HULL_GUEST_TSS + 4        // RSP0
        movw    $HULL_GUEST_PORT_BITMAP - HULL_GUEST_TSS, HULL_GUEST_TSS + 102
        movl    $HULL_GUEST_TSS_SELECTOR, %eax
        ltr     %ax
        movl    $0xfee00350, %eax               // LINT0 masked: nothing from an 8259 that nobody set up
        movl    $0x10000, (%rax)
        movq    $cpu0_stack_end, %rbx
        movq    $guest_main, %rcx
enter_user:                                     // RCX: function, RBX: top of its stack, RDI: its argument
        subq    $8, %rbx                        // as after a call
        pushq   $HULL_GUEST_USER_DATA
        pushq   %rbx
        pushq   $0x202                          // IF
        pushq   $HULL_GUEST_USER_CODE
        pushq   %rcx
        iretq

// The other CPUs: copied to HULL_GUEST_TRAMPOLINE, from real mode straight to long mode.
        .code16
        .globl  trampoline, trampoline_end
trampoline:
        movw    %cs, %ax
        movw    %ax, %ds
        lgdtl   trampoline_gdt_pointer - trampoline
        movl    $0x20, %eax
        movl    %eax, %cr4
        movl    $page_tables, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx
        movl    $0x100, %eax
        xorl    %edx, %edx
        wrmsr
        movl    $0x80000011, %eax
        movl    %eax, %cr0
        ljmpl   $HULL_GUEST_KERNEL_CODE, $cpu_start64
trampoline_gdt_pointer:
        .word   HULL_GUEST_GDT_SIZE - 1
        .long   HULL_GUEST_GDT
trampoline_end:

        .code64
cpu_start64:
        movl    $1, %edi
        lock xaddl %edi, cpus_started           // RDI: this CPU's number
        cmpl    $HULL_GUEST_MAX_CPUS, %edi
        jae     stop
        lidt    idt_pointer
        movl    %edi, %ebx
        imull   $HULL_GUEST_CPU_STACK, %ebx
        addq    cpu_stacks, %rbx                // top of this CPU's block
        movq    %rbx, %rsp
        movl    %edi, %eax
        shll    $7, %eax                        // HULL_GUEST_TSS_STRIDE
        movq    %rsp, HULL_GUEST_TSS + 4(%rax)
        movl    $HULL_GUEST_PORT_BITMAP - HULL_GUEST_TSS, %ecx
        subl    %eax, %ecx
        movw    %cx, HULL_GUEST_TSS + 102(%rax)
        movl    %edi, %eax
        shll    $4, %eax
        addl    $HULL_GUEST_TSS_SELECTOR, %eax
        ltr     %ax
        subq    $0x400, %rbx
        movq    $cpu_main, %rcx
        jmp     enter_user

// int3 from CPL 3: RAX = what, RDI, RSI, RDX = arguments, RAX = answer; RCX and R8 are lost.
call_cpl0:
        cmpl    $HULL_GUEST_CALL_WAIT, %eax
        je      wait
        cmpl    $HULL_GUEST_CALL_CPUID, %eax
        je      get_cpuid
        cmpl    $HULL_GUEST_CALL_READ_MSR, %eax
        je      read_msr
        cmpl    $HULL_GUEST_CALL_WRITE_MSR, %eax
        je      write_msr
        cmpl    $HULL_GUEST_CALL_DROP_IDT, %eax
        jne     stop
        lidt    no_idt_pointer                  // the next int3 is a triple fault
        iretq
stop:
        cli
        hlt
        jmp     stop
wait:                                           // sleep unless *RDI changed from RSI; sti delays by one instruction
        cmpq    %rsi, (%rdi)
        jne     1f
        sti
        hlt
        cli
1:      iretq
get_cpuid:
        movq    %rdx, %r8
        movl    %edi, %eax
        movl    %esi, %ecx
        pushq   %rbx
        cpuid
        movl    %eax, (%r8)
        movl    %ebx, 4(%r8)
        movl    %ecx, 8(%r8)
        movl    %edx, 12(%r8)
        popq    %rbx
        iretq
read_msr:
        movl    %edi, %ecx
        rdmsr
        shlq    $32, %rdx
        orq     %rdx, %rax
        iretq
write_msr:
        movl    %edi, %ecx
        movq    %rsi, %rax
        movq    %rsi, %rdx
        shrq    $32, %rdx
        wrmsr
        iretq

interrupt:                                      // stack: vector, RIP, CS, …
        pushq   %rax
        movq    8(%rsp), %rax
        lock incq interrupt_counts(, %rax, 8)
        movl    $0xfee000b0, %eax               // end of interrupt
        movl    $0, (%rax)
        popq    %rax
        addq    $8, %rsp
        iretq

exception:                                      // stack: vector, error, RIP, CS, flags, RSP, SS
        popq    exception_vector
        popq    exception_error
        movq    (%rsp), %rax
        movq    %rax, exception_address
        movq    %cr2, %rax
        movq    %rax, exception_cr2
        movq    $guest_exception, %rcx
        movq    $exception_stack_end, %rbx
        jmp     enter_user

        .section .vectors, "ax", @progbits
        .globl  vectors
vectors:
        .set    vector, 0
        .rept   HULL_GUEST_VECTOR_COUNT
        .balign 16
        .if     vector == 3
        jmp     call_cpl0
        .elseif vector == HULL_GUEST_SPURIOUS_VECTOR
        iretq
        .elseif vector >= HULL_GUEST_FIRST_IRQ_VECTOR
        pushq   $vector
        jmp     interrupt
        .elseif (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21)
        pushq   $vector                         // the CPU has pushed an error code
        jmp     exception
        .else
        pushq   $0
        pushq   $vector
        jmp     exception
        .endif
        .set    vector, vector + 1
        .endr

        .data
        .balign 8
        .word   0, 0, 0
gdt_pointer:
        .word   HULL_GUEST_GDT_SIZE - 1
        .quad   HULL_GUEST_GDT
        .word   0, 0, 0
idt_pointer:
        .word   HULL_GUEST_VECTOR_COUNT * 16 - 1
        .quad   HULL_GUEST_IDT
        .word   0, 0, 0
no_idt_pointer:
        .word   0
        .quad   0
        .globl  start_info_address, cpus_started, cpu_stacks
start_info_address:
        .long   0
cpus_started:
        .long   1                               // this one
cpu_stacks:
        .quad   0                               // set before the others start; CPU n ends at + n * HULL_GUEST_CPU_STACK
        .globl  exception_vector, exception_error, exception_address, exception_cr2, interrupt_counts
exception_vector:
        .quad   0
exception_error:
        .quad   0
exception_address:
        .quad   0
exception_cr2:
        .quad   0
interrupt_counts:
        .fill   HULL_GUEST_VECTOR_COUNT, 8, 0

        .bss
        .balign 16
        .skip   0x400
cpu0_kernel_stack_end:
        .skip   0x4000
cpu0_stack_end:
        .skip   0x1000
exception_stack_end:

        .section .note.GNU-stack, "", @progbits
