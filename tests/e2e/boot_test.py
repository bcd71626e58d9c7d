"""The main job: the small guest boots from raw, qcow2 and copy-on-write disks and its writes are on the host."""

import unittest

from support import CRASHED, DEBUG_EXIT_BASE, HOST, MIB, OK, REFUSED, RESET, TIMEOUT, Disk, HullTest, domain_xml, pattern, qemu_img, sha256

SECTORS = 4 * MIB // 512


class BootByOptions(HullTest):
    def check_written(self, disk, base_sectors=0):
        """Writes a stretch in the middle, checks it in the guest, and the whole disk on the host."""
        model = bytearray(4 * MIB)
        model[: base_sectors * 512] = pattern(0, base_sectors, 100)
        model[1000 * 512 : 3000 * 512] = pattern(1000, 2000, 7)
        agenda = "blk.info;blk.fill,start=1000,count=2000,seed=7;blk.flush;blk.verify,start=1000,count=2000,seed=7"
        result = self.run_guest(agenda, [disk])
        self.expect_success(result)
        self.assertEqual(disk.contents(), bytes(model), "the disk on the host differs from the model")
        disk.check()

    def test_raw(self):
        self.check_written(self.raw())

    def test_qcow2(self):
        self.check_written(self.qcow2())

    def test_qcow2_of_every_cluster_size(self):
        for size in (512, 4096, 2 * MIB):
            with self.subTest(cluster_size=size):
                self.check_written(self.qcow2(f"c{size}.qcow2", creation=f"cluster_size={size}"))

    def test_qcow2_version_2(self):
        self.check_written(self.qcow2(creation="compat=0.10"))

    def test_qcow2_refcount_widths(self):
        for bits in (1, 8, 64):
            with self.subTest(refcount_bits=bits):
                self.check_written(self.qcow2(f"r{bits}.qcow2", creation=f"refcount_bits={bits}"))

    def test_overlay_leaves_its_base_alone(self):
        for base_format in ("raw", "qcow2"):
            with self.subTest(base=base_format):
                disk, base = self.overlay(2000, f"over-{base_format}.qcow2", base_format=base_format)
                before = sha256(base.path)
                self.check_written(disk, base_sectors=2000)
                self.assertEqual(sha256(base.path), before, "the base has changed")

    def test_overlay_of_compressed_base(self):
        raw = self.raw("plain.raw", data=pattern(0, 4000, 100))
        for method in ("zlib", "zstd"):
            with self.subTest(method=method):
                base = Disk(self.directory / f"{method}.qcow2", "qcow2")
                qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", f"compression_type={method}", raw.path, base.path)
                before = sha256(base.path)
                self.check_written(self.qcow2(f"over-{method}.qcow2", backing=base), base_sectors=4000)
                self.assertEqual(sha256(base.path), before, "the base has changed")

    def test_cache_modes(self):
        for mode in ("none", "writeback", "writethrough", "directsync", "unsafe"):
            with self.subTest(cache=mode):
                self.check_written(self.qcow2(f"{mode}.qcow2", cache=mode))

    def test_guest_reads_what_the_host_wrote(self):
        disk, _ = self.overlay(SECTORS, "full.qcow2")
        self.expect_success(self.run_guest("blk.verify,seed=100", [disk]))

    def test_write_zeroes_and_discard(self):
        disk, _ = self.overlay(SECTORS, "zero.qcow2", discard="unmap")
        agenda = "blk.zeroes,start=256,count=512;blk.verify,start=256,count=512,zero;blk.discard,start=2048,count=1024;blk.flush"
        self.expect_success(self.run_guest(agenda, [disk]))
        contents = disk.contents()
        self.assertEqual(contents[256 * 512 : 768 * 512], bytes(512 * 512))
        self.assertEqual(contents[: 256 * 512], pattern(0, 256, 100))
        disk.check()

    def test_two_disks_in_order(self):
        first, second = self.raw("a.raw", serial="first"), self.qcow2("b.qcow2", size=2 * MIB, serial="second")
        result = self.run_guest("blk.info,dev=0;blk.fill,dev=0,count=8,seed=3;blk.fill,dev=1,count=8,seed=4", [first, second])
        self.expect_success(result)
        self.assertEqual(result.values("blk.info").get("id"), "first", result)
        self.assertEqual(first.contents()[: 8 * 512], pattern(0, 8, 3))
        self.assertEqual(second.contents()[: 8 * 512], pattern(0, 8, 4))

    def test_read_only_disk_refuses_writes(self):
        disk = self.raw(data=pattern(0, 100), readonly="on")
        before = sha256(disk.path)
        self.expect_success(self.run_guest("blk.readonly;blk.verify,count=100;blk.flush", [disk]))
        self.assertEqual(sha256(disk.path), before)

    def test_requests_past_the_end_fail(self):
        for disk in (self.raw(), self.qcow2()):
            with self.subTest(format=disk.format):
                size = disk.path.stat().st_size
                self.expect_success(self.run_guest("blk.past-end", [disk]))
                if disk.format == "raw":
                    self.assertEqual(disk.path.stat().st_size, size, "the file has grown")

    def test_interrupt_driven(self):
        for way in ("spin", "halt"):
            with self.subTest(wait=way):
                self.expect_success(self.run_guest("blk.fill,count=200;blk.verify,count=200", [self.qcow2(f"{way}.qcow2")], words=f"hull.wait={way}"))

    def test_without_optional_ring_features(self):
        self.expect_success(self.run_guest("blk.fill,count=200;blk.verify,count=200", [self.qcow2()], words="hull.noindirect hull.noevent"))

    def test_four_processors(self):
        result = self.run_guest("smp", (), "--vcpus", "4")
        self.expect_success(result)

    def test_random_numbers(self):
        self.expect_success(self.run_guest("rng"))

    def test_no_disk_at_all(self):
        self.expect_success(self.run_guest("facts"))


class BootByXml(HullTest):
    def test_overlay(self):
        disk, base = self.overlay(2000)
        before = sha256(base.path)
        cmdline = "hull.do=blk.verify,count=2000,seed=100;blk.fill,start=100,count=50,seed=5;blk.flush"
        result = self.run_xml(domain_xml(disks=[disk], cmdline=cmdline), "--console", "stdio")
        self.expect_success(result)
        self.assertEqual(disk.contents()[: 2000 * 512], pattern(0, 100, 100) + pattern(100, 50, 5) + pattern(150, 1850, 100))
        self.assertEqual(sha256(base.path), before)
        disk.check()

    def test_standard_input(self):
        result = self.hull("run", "-", "--console", "stdio", stdin=domain_xml(cmdline="hull.do=facts"))
        self.expect_success(result)

    def test_console_is_stdio_unless_the_document_says_otherwise(self):
        self.expect_success(self.run_xml(domain_xml(cmdline="hull.do=facts")))

    def test_minimal_document_has_no_warning(self):
        result = self.run_xml(domain_xml(disks=[self.qcow2()], cmdline="hull.do=blk.info"))
        self.expect_success(result)
        self.assertEqual(result.err, "", result)

    def test_absent_format_is_raw_and_never_probed(self):
        disk = self.qcow2()
        size = disk.path.stat().st_size // 512 * 512
        with disk.path.open("ab") as file:
            file.truncate(size)
        document = domain_xml(disks=[disk], cmdline="hull.do=blk.info").replace(" type='qcow2'", "")
        result = self.run_xml(document)
        self.expect_success(result)
        self.assertEqual(int(result.values("blk.info")["sectors"]) * 512, size, result)

    def test_device_tree_alone_leaves_files_of_the_console_as_they_are(self):
        console, log, tree = (self.directory / name for name in ("console", "log", "tree.dtb"))
        for file in (console, log):
            file.write_text("kept")
        path = self.directory / "d.xml"
        path.write_text(domain_xml(devices=f"<serial type='file'><source path='{console}'/><log file='{log}'/><target port='0'/></serial>"))
        self.assertEqual(self.hull("run", path, "--dump-dtb", tree).code, OK)
        self.assertEqual(tree.read_bytes()[:4], bytes.fromhex("d00dfeed"))
        self.assertEqual((console.read_text(), log.read_text()), ("kept", "kept"))

    def test_on_reboot_destroy_ends_with_its_code(self):
        result = self.run_xml(domain_xml(cmdline="hull.end=reset", elements="<on_reboot>destroy</on_reboot>"))
        self.assertEqual(result.code, RESET, result)


class Clock(HullTest):
    def test_alarm_periodic_and_update_interrupts_come(self):
        result = self.run_guest("rtc;rtc.alarm", (), "--timeout", "120")
        self.assertEqual(result.code, OK, result)
        self.assertIn("hull-guest: ok rtc.alarm", result.out)

    def test_clock_starts_where_the_document_says(self):
        """4 July 2001, noon."""
        document = domain_xml(cmdline="hull.do=rtc", elements="<clock offset='absolute' start='994248000'/>")
        result = self.run_xml(document)
        self.assertIn("hull-guest: rtc year=2001 month=7 day=4 hour=12 ", result.out, result)


class Processor(HullTest):
    def document(self, features):
        return domain_xml(cmdline="hull.do=facts", elements=f"<cpu mode='host-passthrough'>{features}</cpu>")

    def test_required_feature_that_no_host_has_is_an_error_that_names_it(self):
        result = self.run_xml(self.document("<feature policy='require' name='3dnow'/><feature policy='require' name='ia64'/>"))
        self.expect_error(result, HOST, "'ia64'")

    def test_unknown_feature_is_refused_with_its_place(self):
        result = self.run_xml(self.document("<feature policy='disable' name='warp'/>"))
        self.expect_error(result, REFUSED, "/domain/cpu/feature")

    def test_every_name_of_libvirt_can_be_disabled(self):
        names = ("mca", "syscall", "xsaves", "md-clear", "npt", "vaes", "intel-pt", "osvw", "perfctr_core", "mds-no", "vmx-ept")
        result = self.run_xml(self.document("".join(f"<feature policy='disable' name='{n}'/>" for n in names)))
        self.assertEqual(result.code, OK, result)


class Ends(HullTest):
    def test_power_off_is_success(self):
        self.assertEqual(self.run_guest("", end="poweroff").code, OK)

    def test_reset_boots_again(self):
        for way in ("reset", "i8042"):
            with self.subTest(way=way):
                result = self.run_guest("blk.info", [self.raw(f"{way}.raw")], "--on-reboot", "restart", "--timeout", "4", end=way)
                self.assertEqual(result.code, TIMEOUT, result)
                self.assertGreaterEqual(result.out.count("hull-guest: start"), 2, result)

    def test_triple_fault_is_a_crash(self):
        self.expect_error(self.run_guest("", end="triple-fault"), CRASHED)

    def test_panic_is_a_crash(self):
        document = domain_xml(cmdline="hull.end=panic", devices="<panic model='isa'/>")
        self.expect_error(self.run_xml(document), CRASHED, "panic")

    def test_debug_exit_code_comes_back(self):
        for code in (0, 5, 31):
            with self.subTest(code=code):
                result = self.run_guest("", (), "--debug-exit", end=f"exit,code={code}")
                self.assertEqual(result.code, DEBUG_EXIT_BASE + code, result)

    def test_time_out(self):
        for way in ("hang", "halt"):
            with self.subTest(way=way):
                self.assertEqual(self.run_guest("", (), "--timeout", "1", end=way).code, TIMEOUT)


if __name__ == "__main__":
    unittest.main()
