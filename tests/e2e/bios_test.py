"""Guests that a BIOS starts from their disk: the host's SeaBIOS on hull's machine, a boot sector on the disk."""

import subprocess
import unittest

from support import HullTest, domain_xml, qemu_img

# Reads the second sector by the BIOS's disk service. Empty: writes to it and resets the machine. Otherwise it says so on
# the serial port and ends by the test port.
BOOT_SECTOR = """
    .code16
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    xorb %dh, %dh
    movw $0x0201, %ax      # one sector
    movw $0x7e00, %bx
    movw $2, %cx           # the second of the first track
    int $0x13
    jc failed
    cmpb $'X', 0x7e00
    je again
    movb $'X', 0x7e00
    movw $0x0301, %ax
    movw $0x7e00, %bx
    movw $2, %cx
    int $0x13
    jc failed
    movw $0xcf9, %dx
    movb $6, %al
    outb %al, %dx
    hlt
again:
    movw $0x3f8, %dx
    movb $'2', %al
    outb %al, %dx
    movb $'\\n', %al
    outb %al, %dx
    movw $0xf4, %dx
    movb $0, %al
    outb %al, %dx
failed:
    hlt
    jmp failed
    .org 510
    .byte 0x55, 0xaa
"""


class Bios(HullTest):
    def boot_sector(self):
        source, binary = self.directory / "boot.o", self.directory / "boot.bin"
        subprocess.run(["as", "--32", "-o", source, "-"], input=BOOT_SECTOR, text=True, check=True)
        subprocess.run(["objcopy", "-O", "binary", "-j", ".text", source, binary], check=True)
        data = binary.read_bytes()
        self.assertEqual(len(data), 512)
        return data

    def test_reads_writes_and_starts_again(self):
        """The order is the document's; what the BIOS wrote is on the disk; a reset starts the BIOS anew."""
        empty = self.raw("empty.raw")
        disk = self.raw("boot.raw", data=self.boot_sector())
        document = domain_xml(kernel="", devices="".join(
            f"<disk type='file'><driver name='qemu' type='raw'/><source file='{image.path}'/><target dev='{target}' bus='virtio'/>"
            f"<boot order='{order}'/></disk>" for image, target, order in ((empty, "vda", 2), (disk, "vdb", 1))))
        result = self.run_xml(document, "--on-reboot", "restart", "--debug-exit", "--console", "stdio")
        self.assertEqual(result.code, 64, result)
        self.assertEqual(result.out.count("SeaBIOS"), 2, result)
        self.assertTrue(result.out.endswith("Booting from Hard Disk..2\n"), result)
        self.assertEqual(disk.contents()[512:514], b"X\0")

    def test_options_choose_and_nothing_else_is_tried(self):
        """A CD-ROM without a boot sector is all that may be tried, although the disk has one."""
        disk = self.raw("boot.raw", data=self.boot_sector())
        disc = self.raw("disc.iso")
        console = self.directory / "console"
        self.start("run", "--disk", disk.path, "--cdrom", disc.path, "--boot", "d", "--memory", "64M", "--console", f"file:{console}")
        self.wait_for(lambda: console.exists() and b"No bootable device" in console.read_bytes(), "the end of the list")
        self.assertEqual(disk.contents()[512:513], b"\0")

    def test_an_image_alone_starts(self):
        """Its format is what its first bytes say, and those are what the user is told."""
        disk = self.raw("boot.raw", data=self.boot_sector())
        overlay = self.directory / "overlay.qcow2"
        qemu_img("create", "-q", "-f", "qcow2", "-b", disk.path, "-F", "raw", overlay)
        result = self.hull("run", overlay, "--on-reboot", "restart", "--debug-exit", "--memory", "64M")
        self.assertEqual(result.code, 64, result)
        self.assertEqual(disk.contents()[512:513], b"\0", "the overlay was written")

    def test_what_a_guest_can_write_is_not_believed(self):
        """A raw image that has come to look like an overlay would show its guest any file of the host."""
        disk = self.raw("disk.img", data=self.boot_sector())
        qemu_img("create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", disk.path)
        for words in ((disk.path,), ("--hda", disk.path)):
            result = self.hull("run", *words)
            self.expect_error(result, 2, f"say --disk {disk.path},format=qcow2, or format=raw")
        disk.path.write_bytes(b"KDMV" + bytes(4092))
        self.expect_error(self.hull("run", disk.path), 1, "'vmdk'")
        disk.path.write_bytes(b"some text\n" * 100)
        self.expect_error(self.hull("run", disk.path), 2, "its first sector is no boot sector")
        self.expect_error(self.hull("run", disk.path, self.document()), 2, "names its own disks")

    def test_what_contradicts_itself(self):
        disk = self.raw("boot.raw", data=self.boot_sector())
        other = self.raw("other.raw")
        for words, code, told in ((["--kernel", "hull:guest", "--boot", "d"], 2, "no --boot"), (["--bios", "/b", "--kernel", "hull:guest"], 2, "no --bios"),
                                  (["--disk", f"{disk.path},boot=1", "--disk", f"{other.path},boot=1"], 3, "boot order 1 is used twice"),
                                  (["--hda", other.path], 2, "no boot sector"), (["--disk", disk.path, "--boot", "n"], 2, "no network boot"),
                                  (["--disk", disk.path, "--dump-dtb", self.directory / "dtb"], 2, "no device tree")):
            with self.subTest(words=words):
                self.expect_error(self.hull("run", *words), code, told)
        self.assertFalse((self.directory / "dtb").exists())

    def document(self):
        path = self.directory / "d.xml"
        path.write_text(domain_xml())
        return path

    def test_what_is_no_bios(self):
        disk = self.raw("boot.raw")
        small = self.directory / "small.bin"
        small.write_bytes(bytes(1000))
        result = self.hull("run", "--bios", small, "--disk", disk.path, "--memory", "64M")
        self.expect_error(result, 1, "small.bin: not a BIOS: 1000 bytes")
        result = self.hull("run", "--bios", "/nowhere", "--disk", disk.path, "--memory", "64M")
        self.expect_error(result, 1, "/nowhere")


if __name__ == "__main__":
    unittest.main()
