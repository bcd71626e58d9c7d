"""A guest that misbehaves on purpose: it may hurt itself, never hull, the host or an image."""

import unittest

from support import HullTest, pattern, sha256


class HostileGuest(HullTest):
    def attack(self, agenda, disks, *options):
        result = self.run_guest(agenda, disks, *options)
        self.expect_success(result)
        self.expect_sane(result)
        self.assertLess(len(result.err.splitlines()), 200, "the guest can flood the log")
        return result

    def test_block_device(self):
        for disk in (self.raw(data=pattern(0, 100)), self.qcow2()):
            with self.subTest(format=disk.format):
                self.attack("hostile,device=blk", [disk])
                disk.check()

    def test_block_device_on_an_overlay_leaves_the_base_alone(self):
        disk, base = self.overlay(1000)
        before = sha256(base.path)
        self.attack("hostile,device=blk", [disk])
        self.assertEqual(sha256(base.path), before)
        disk.check()

    def test_read_only_disk_stays_as_it_is(self):
        disk = self.raw(data=pattern(0, 1000), readonly="on")
        before = sha256(disk.path)
        self.attack("hostile,device=blk", [disk])
        self.assertEqual(sha256(disk.path), before)

    def test_request_of_gibibytes_is_not_begun(self):
        """On a disk that has as much: it would keep a device for as long as the guest likes."""
        self.attack("hostile,device=blk,attack=blk-read-huge", [self.raw(size=8 << 30)])

    def test_entropy_device(self):
        self.attack("hostile,device=rng", ())

    def test_every_register_at_every_width(self):
        self.attack("sweep.mmio", [self.raw()])
        self.attack("nowhere", ())

    def test_ports_can_be_read(self):
        self.attack("sweep.port,to=0x5ff", ())

    def test_disk_works_after_an_attack(self):
        disk = self.qcow2()
        self.attack("hostile,device=blk;blk.fill,count=1000;blk.flush;blk.verify,count=1000", [disk])
        self.assertEqual(disk.contents()[: 1000 * 512], pattern(0, 1000))
        disk.check()


if __name__ == "__main__":
    unittest.main()
