"""Images that are missing, cut short, inconsistent or lying: refused with a clear line, or read safely."""

import struct
import unittest

from support import ERROR, MIB, OK, REFUSED, Disk, HullTest, pattern, qemu_img, sha256

# Fields of the qcow2 header: (offset, format, values that cannot be right).
HEADER_LIES = {
    "magic": (0, ">I", [0, 0x51464900]),
    "version": (4, ">I", [0, 1, 4, 0xFFFFFFFF]),
    "backing file offset": (8, ">Q", [1 << 63, 0xFFFFFFFFFFFFFFFF]),
    "cluster bits": (20, ">I", [0, 8, 22, 64, 0xFFFFFFFF]),
    "size": (24, ">Q", [(1 << 64) - 1, 1 << 63]),
    "encryption": (32, ">I", [1, 2, 77]),
    "L1 entries": (36, ">I", [0, 0x7FFFFFFF, 0xFFFFFFFF]),
    "L1 offset": (40, ">Q", [1, 512, 1 << 63, (1 << 64) - 65536]),
    "refcount table offset": (48, ">Q", [1, 512, 1 << 63, (1 << 64) - 65536]),
    "refcount table clusters": (56, ">I", [0, 0xFFFFFFFF]),
    "incompatible features": (72, ">Q", [1 << 1, 1 << 2, 1 << 5, 1 << 63]),
    "refcount order": (96, ">I", [7, 64, 0xFFFFFFFF]),
    "header length": (100, ">I", [0, 3, 103, 0xFFFFFFFF]),
}


def overwrite(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


class LyingHeaders(HullTest):
    def test_each_lie_is_refused_and_nothing_is_written(self):
        for field, (offset, form, values) in HEADER_LIES.items():
            for value in values:
                with self.subTest(field=field, value=hex(value)):
                    disk = self.qcow2()
                    overwrite(disk.path, offset, struct.pack(form, value))
                    before = sha256(disk.path)
                    self.expect_error(self.run_guest("blk.info", [disk]), ERROR, disk.path.name)
                    self.assertEqual(sha256(disk.path), before, "a refused image was changed")

    def test_a_table_of_snapshots_that_lies_keeps_nobody_from_the_disk(self):
        """The guest reads and writes it, and what the snapshots may hold stays; a check says what is wrong."""
        disk = self.qcow2()
        self.expect_success(self.run_guest("blk.fill,seed=3", [disk]))
        overwrite(disk.path, 60, struct.pack(">I", 0xFFFFFFFF))
        self.expect_success(self.run_guest("blk.verify,seed=3;blk.fill,seed=4;blk.flush;blk.verify,seed=4", [disk]))
        self.assertEqual(disk.path.read_bytes()[60:64], b"\xff" * 4)
        checked = self.hull("img", "check", disk.path)
        self.assertEqual(checked.code, 2, checked)
        self.assertIn("snapshot", checked.out + checked.err)

    def test_random_headers_never_crash(self):
        for seed in range(1, 60):
            with self.subTest(seed=seed):
                disk = self.qcow2(size=MIB)
                noise = pattern(seed * 1000, 1, seed)
                overwrite(disk.path, 8 + seed % 90, noise[: 1 + seed % 12])
                self.expect_sane(self.run_guest("blk.sum", [disk], "--timeout", "60"))

    def test_corrupt_tables_give_errors_to_the_guest_alone(self):
        """Entries that point nowhere: the guest sees I/O errors, hull and the rest of the disk live."""
        for what, offset in (("L1", 40), ("refcount", 48)):
            with self.subTest(table=what):
                disk = self.qcow2()
                self.expect_success(self.run_guest("blk.fill", [disk]))
                table = struct.unpack(">Q", disk.path.read_bytes()[offset : offset + 8])[0]
                overwrite(disk.path, table, struct.pack(">Q", (1 << 63) | (1 << 50)))
                self.expect_sane(self.run_guest("blk.sum;blk.fill,seed=2", [disk]))


class MissingAndShort(HullTest):
    def test_missing_image(self):
        for image_format in ("raw", "qcow2"):
            disk = Disk(self.directory / "absent.img", image_format)
            self.expect_error(self.run_guest("blk.info", [disk]), ERROR, "absent.img")
            self.assertFalse(disk.path.exists(), "it was created")

    def test_directory_and_fifo(self):
        self.expect_error(self.run_guest("blk.info", [Disk(self.directory)]), ERROR)
        self.expect_error(self.run_guest("blk.info", [Disk("/dev/null")]), REFUSED)

    def test_empty_and_short_qcow2(self):
        for size in (0, 1, 71, 103, 104, 4096):
            with self.subTest(size=size):
                disk = self.qcow2()
                data = disk.path.read_bytes()[:size]
                disk.path.write_bytes(data)
                self.expect_error(self.run_guest("blk.info", [disk]), ERROR)

    def test_truncated_data_reads_as_an_error_or_zeroes(self):
        disk = self.qcow2()
        self.expect_success(self.run_guest("blk.fill;blk.flush", [disk]))
        with disk.path.open("r+b") as file:
            file.truncate(disk.path.stat().st_size // 2)
        self.expect_sane(self.run_guest("blk.sum", [disk]))

    def test_raw_of_odd_size(self):
        disk = self.raw(size=MIB + 100)
        result = self.run_guest("blk.info", [disk])
        self.assertIn(result.code, (OK, ERROR), result)
        self.expect_sane(result)
        self.assertEqual(disk.path.stat().st_size, MIB + 100)

    def test_raw_that_begins_like_qcow2_stays_raw(self):
        disk = self.raw(data=b"QFI\xfb" + bytes(508))
        result = self.run_guest("blk.info;blk.fill,start=8,count=8;blk.verify,start=8,count=8", [disk])
        self.expect_success(result)
        self.assertRegex(result.err, "(?m)^warning: .*qcow2")
        self.assertEqual(disk.contents()[:4], b"QFI\xfb")


class Chains(HullTest):
    def test_missing_backing_file(self):
        overlay, base = self.overlay(8)
        base.path.unlink()
        self.expect_error(self.run_guest("blk.info", [overlay]), ERROR, base.path.name)

    def test_loop_is_refused(self):
        first, second = self.qcow2("a.qcow2"), self.qcow2("b.qcow2")
        qemu_img("rebase", "-u", "-f", "qcow2", "-b", second.path, "-F", "qcow2", first.path)
        qemu_img("rebase", "-u", "-f", "qcow2", "-b", first.path, "-F", "qcow2", second.path)
        self.expect_error(self.run_guest("blk.info", [first]), REFUSED)
        qemu_img("rebase", "-u", "-f", "qcow2", "-b", first.path, "-F", "qcow2", first.path)
        self.expect_error(self.run_guest("blk.info", [first]), REFUSED)

    def test_loop_through_a_link_is_refused(self):
        disk = self.qcow2("a.qcow2")
        link = self.directory / "link.qcow2"
        link.hardlink_to(disk.path)
        qemu_img("rebase", "-u", "-f", "qcow2", "-b", link, "-F", "qcow2", disk.path)
        self.expect_error(self.run_guest("blk.info", [disk]), REFUSED)

    def test_depth_is_bounded(self):
        disk = self.raw("base.raw", data=pattern(0, 8, 100))
        for i in range(300):
            child = self.directory / f"{i}.qcow2"
            qemu_img("create", "-q", "-u", "-f", "qcow2", "-b", disk.path, "-F", disk.format, child, 4 * MIB)
            disk = Disk(child, "qcow2")
        self.expect_error(self.run_guest("blk.info", [disk]), REFUSED)

    def test_short_backing_file_reads_as_zeroes_behind(self):
        base = self.raw("short.raw", size=100 * 512, data=pattern(0, 100, 100))
        disk = self.qcow2("long.qcow2", backing=base)
        self.expect_success(self.run_guest("blk.verify,count=100,seed=100;blk.verify,start=100,zero;blk.fill,start=96,count=8;blk.verify,start=104,zero", [disk]))
        disk.check()

    def test_backing_without_format_is_refused(self):
        base = self.raw("base.raw")
        disk = self.qcow2("over.qcow2")
        # qemu-img insists on a format by now; the header that older ones wrote has a name alone.
        name = str(base.path).encode()
        overwrite(disk.path, 8, struct.pack(">QI", 4096, len(name)))
        overwrite(disk.path, 4096, name)
        result = self.run_guest("blk.info", [disk])
        self.expect_error(result, REFUSED, "format")

    def test_snapshots_in_the_image_survive(self):
        disk = self.qcow2()
        self.expect_success(self.run_guest("blk.fill,seed=1", [disk]))
        qemu_img("snapshot", "-c", "before", disk.path)
        self.expect_success(self.run_guest("blk.fill,seed=2;blk.flush", [disk]))
        disk.check()
        self.assertEqual(disk.contents(), pattern(0, 4 * MIB // 512, 2))
        qemu_img("snapshot", "-a", "before", disk.path)
        self.assertEqual(disk.contents(), pattern(0, 4 * MIB // 512, 1))


if __name__ == "__main__":
    unittest.main()
