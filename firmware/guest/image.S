// The bytes of hull-guest.elf; page-aligned, so that the loader's copy is.
        .section .rodata
        .balign 4096
        .globl  hull_guest_image_begin, hull_guest_image_end
hull_guest_image_begin:
        .incbin HULL_GUEST_ELF
hull_guest_image_end:
        .byte   0

        .section .note.GNU-stack, "", @progbits
