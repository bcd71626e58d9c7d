"""Kernels and initial RAM disks that lie about themselves: one clear line, never a crash."""

import pathlib
import struct
import unittest

from support import HULL, ROOT, HullTest


def find_guest_elf():
    """The small guest as a file: beside the hull under test, or in any build of this tree."""
    beside = pathlib.Path(HULL).resolve().parent / "../../firmware/guest/hull-guest.elf"
    return beside if beside.exists() else next(ROOT.glob("build/*/firmware/guest/hull-guest.elf"))


def bzimage(**lies):
    """The smallest file that looks like a 64-bit bzImage; `lies` are (offset, format, value)."""
    data = bytearray(64 * 1024)
    fields = {"setup_sects": (0x1F1, "<B", 4), "magic": (0x1FE, "<H", 0xAA55), "jump": (0x200, "<H", 0x66EB), "header": (0x202, "<4s", b"HdrS"),
              "version": (0x206, "<H", 0x020F), "loadflags": (0x211, "<B", 1), "xloadflags": (0x236, "<H", 1), "syssize": (0x1F4, "<I", 0xF00),
              "alignment": (0x230, "<I", 0x200000), "relocatable": (0x234, "<B", 1), "init_size": (0x260, "<I", 0x100000), "cmdline": (0x238, "<I", 2047),
              "preferred": (0x258, "<Q", 0x1000000)}
    for offset, form, value in {**fields, **lies}.values():
        struct.pack_into(form, data, offset, value)
    return bytes(data)


BAD_KERNELS = {
    "empty": b"",
    "one byte": b"\x7f",
    "text": b"this is no kernel\n" * 100,
    "cut-off boot sector": bzimage()[:300],
    "no magic": bzimage(header=(0x202, "<4s", b"XXXX")),
    "setup beyond the file": bzimage(setup_sects=(0x1F1, "<B", 255)),
    "ancient protocol": bzimage(version=(0x206, "<H", 0x0201)),
    "no 64-bit entry": bzimage(xloadflags=(0x236, "<H", 0)),
    "size of 4 GiB": bzimage(init_size=(0x260, "<I", 0xFFFFFFFF)),
    "preferred address wraps": bzimage(preferred=(0x258, "<Q", 0xFFFFFFFFFFF00000), relocatable=(0x234, "<B", 0)),
    "ELF header alone": b"\x7fELF\x02\x01\x01" + bytes(57),
}


class BadKernels(HullTest):
    def boot(self, kernel, *options):
        return self.hull("run", "--kernel", kernel, "--memory", "64M", "--append", "hull.do=facts", "--timeout", "20", *options)

    def expect_refusal(self, data):
        path = self.directory / "kernel"
        path.write_bytes(data)
        result = self.boot(path)
        self.assertIn(result.code, (1, 3), result)
        self.expect_error(result, result.code, "kernel")

    def test_each_is_refused(self):
        for what, data in BAD_KERNELS.items():
            with self.subTest(what):
                self.expect_refusal(data)

    def test_elf_with_lies(self):
        good = find_guest_elf().read_bytes()
        phoff = struct.unpack_from("<Q", good, 32)[0]
        lies = {"program headers beyond the file": (32, "<Q", 1 << 40), "program headers wrap": (32, "<Q", (1 << 64) - 8),
                "65535 program headers": (56, "<H", 0xFFFF), "size of a program header": (54, "<H", 1), "other machine": (18, "<H", 183),
                "segment beyond the file": (phoff + 8, "<Q", 1 << 50), "segment wraps": (phoff + 32, "<Q", (1 << 64) - 1),
                "segment beyond memory": (phoff + 24, "<Q", 1 << 45), "segment of exabytes": (phoff + 40, "<Q", 1 << 62)}
        for what, (offset, form, value) in lies.items():
            with self.subTest(what):
                data = bytearray(good)
                struct.pack_into(form, data, offset, value)
                path = self.directory / "kernel"
                path.write_bytes(data)
                result = self.boot(path)
                self.assertNotEqual(result.code, 0, result)
                self.expect_sane(result)

    def test_good_elf_boots_from_a_file(self):
        self.expect_success(self.boot(find_guest_elf()))

    def test_missing_kernel_and_directory(self):
        for path in (self.directory / "absent", self.directory):
            result = self.boot(path)
            self.assertNotEqual(result.code, 0, result)
            self.expect_sane(result)
            self.assertIn(path.name, result.err)

    def test_initrd_larger_than_memory(self):
        path = self.directory / "initrd"
        with path.open("wb") as file:
            file.truncate(65 << 20)
        result = self.boot("hull:guest", "--initrd", path)
        self.assertNotEqual(result.code, 0, result)
        self.expect_error(result, result.code, "initrd")

    def test_command_line_too_long(self):
        result = self.hull("run", "--kernel", "hull:guest", "--append", "x" * 100000)
        self.assertNotEqual(result.code, 0, result)
        self.expect_sane(result)

    def test_kernel_larger_than_memory(self):
        path = self.directory / "kernel"
        path.write_bytes(bzimage(syssize=(0x1F4, "<I", 0xFFFFFFF)))
        with path.open("ab") as file:
            file.truncate(200 << 20)
        result = self.boot(path)
        self.assertNotEqual(result.code, 0, result)
        self.expect_sane(result)


if __name__ == "__main__":
    unittest.main()
