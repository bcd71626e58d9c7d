"""hull nbd as NBD's own tools and qemu-img see it."""

import json
import os
import signal
import socket
import subprocess
import time
import unittest

from support import BUSY, ERROR, HULL, LIMIT, MIB, OK, REFUSED, USAGE, HullTest, domain_xml, pattern, qemu_img, sha256


def tool(*arguments):
    """Runs a program that must succeed; returns its standard output."""
    result = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=LIMIT, check=False)
    if result.returncode != 0:
        raise AssertionError(f"{arguments}: {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


class NbdTest(HullTest):
    def setUp(self):
        super().setUp()
        self.socket = self.directory / "nbd.sock"
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self.pid = self.directory / "nbd.pid"

    def serve(self, disk, *options):
        """A server in the background, ready for clients; it is ended in the end."""
        result = self.hull("nbd", "--fork", "--persistent", "--pid-file", self.pid, "--socket", self.socket,
                           "-f", disk.format, *options, disk.path)
        self.assertEqual(result.code, OK, result)
        self.addCleanup(self.stop)
        return int(self.pid.read_text())

    def stop(self):
        """Ends the server and waits for its traces to go."""
        if not self.pid.exists():
            return
        os.kill(int(self.pid.read_text()), signal.SIGTERM)
        self.wait_for(lambda: not self.pid.exists() and not self.socket.exists(), "the server to end")

    def locked(self, disk):
        return subprocess.run(["qemu-img", "info", disk.path], capture_output=True, check=False).returncode != 0

    def answers(self):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0


class Activation(NbdTest):
    """The socket is made by whoever starts the server."""

    def test_nbdcopy_starts_it_for_one_copy(self):
        disk = self.raw()
        out = self.directory / "out"
        tool("nbdcopy", "--", "[", HULL, "nbd", "-f", "raw", disk.path, "]", out)
        self.assertEqual(sha256(out), sha256(disk.path))

    def test_a_socket_of_our_own_excludes_it(self):
        environment = {**os.environ, "LISTEN_FDS": "1"}
        command = f'LISTEN_PID=$$ exec "{HULL}" nbd -f raw -k {self.socket} {self.raw().path}'
        result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=LIMIT, check=False,
                                env=environment)
        self.assertEqual(result.returncode, USAGE, result)
        self.assertIn("LISTEN_FDS", result.stderr)

    def test_what_is_no_socket_is_refused(self):
        environment = {**os.environ, "LISTEN_FDS": "1"}
        command = f'LISTEN_PID=$$ exec "{HULL}" nbd -f raw {self.raw().path} 3</dev/null'
        result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=LIMIT, check=False,
                                env=environment)
        self.assertNotEqual(result.returncode, OK)
        self.assertIn("LISTEN_FDS", result.stderr)


class Tools(NbdTest):
    def test_nbdinfo_sees_size_and_features(self):
        self.serve(self.raw(), "-e", "4", "-D", "a disk", "--discard=unmap")
        self.assertEqual(tool("nbdinfo", "--size", self.uri).strip(), str(4 * MIB))
        text = tool("nbdinfo", self.uri)
        for line in ("can_multi_conn: true", "can_trim: true", "can_zero: true", "can_fua: true", "can_df: true",
                     "description: a disk", "base:allocation"):
            self.assertIn(line, text)
        tool("nbdinfo", "--list", self.uri)

    def test_one_client_at_a_time_is_not_told_of_more_connections(self):
        self.serve(self.raw())
        self.assertIn("can_multi_conn: false", tool("nbdinfo", self.uri))

    def test_map_shows_holes_and_zeros(self):
        disk = self.qcow2()
        tool("qemu-io", "-f", "qcow2", "-c", "write -P 5 1M 64k", "-c", "write -z 2M 64k", disk.path)
        self.serve(disk, "-A")
        lines = [line.split() for line in tool("nbdinfo", "--map", self.uri).splitlines()]
        self.assertEqual([(int(start), int(length), int(flags)) for start, length, flags, *_ in lines],
                         [(0, MIB, 3), (MIB, 65536, 0), (MIB + 65536, 3 * MIB - 65536, 3)])
        depth = [line.split() for line in tool("nbdinfo", "--map=qemu:allocation-depth", self.uri).splitlines()]
        self.assertEqual([int(flags) for _, _, flags, *_ in depth], [0, 1, 0, 1, 0])

    def test_dirty_bitmap_is_shown(self):
        disk = self.qcow2()
        qemu_img("bitmap", "--add", "-g", "65536", disk.path, "b0")
        tool("qemu-io", "-f", "qcow2", "-c", "write -P 5 1M 100k", disk.path)
        self.serve(disk, "-r", "-B", "b0")
        lines = [line.split() for line in tool("nbdinfo", "--map=qemu:dirty-bitmap:b0", self.uri).splitlines()]
        self.assertEqual([(int(start), int(length), int(flags)) for start, length, flags, *_ in lines],
                         [(0, MIB, 0), (MIB, 131072, 1), (MIB + 131072, 3 * MIB - 131072, 0)])
        self.stop()
        self.expect_error(self.hull("nbd", "-r", "-B", "absent", "-f", "qcow2", "-k", self.socket, disk.path), REFUSED, "absent")
        self.expect_error(self.hull("nbd", "-B", "b0", "-f", "qcow2", "-k", self.socket, disk.path), USAGE, "--read-only")

    def test_map_agrees_with_qemu_img(self):
        base = self.raw("base.raw", data=pattern(0, 1024, 1))
        disk = self.qcow2("top.qcow2", backing=base)
        tool("qemu-io", "-f", "qcow2", "-c", "write -P 5 1M 128k", "-c", "discard 2M 128k", disk.path)
        expected = qemu_img("map", "--output=json", "-f", "qcow2", disk.path)
        self.serve(disk)
        seen = qemu_img("map", "--output=json", "-f", "raw", self.uri)

        def of(text):
            # Over NBD neighbours that differ in depth or place alone are one.
            merged = []
            for entry in json.loads(text):
                key = (entry["data"], entry["zero"])
                if merged and merged[-1][1] == key:
                    merged[-1][0] += entry["length"]
                else:
                    merged.append([entry["length"], key])
            return merged

        self.assertEqual(of(seen), of(expected))

    def test_info_map_and_check_of_an_export_are_qemu_imgs(self):
        disk = self.qcow2()
        tool("qemu-io", "-f", "qcow2", "-c", "write -P 5 1M 128k", disk.path)
        self.serve(disk, "-e", "4")

        def both(*arguments):
            mine = self.hull("img", *arguments, self.uri)
            theirs = subprocess.run(["qemu-img", *arguments, self.uri], capture_output=True, text=True, check=False)
            self.assertEqual(mine.code, theirs.returncode, mine)
            # QEMU shows the URL with two slashes.
            return mine.out, theirs.stdout.replace("nbd+unix://?", "nbd+unix:///?")

        for arguments in (("info",), ("info", "-f", "raw"), ("map",), ("map", "-f", "raw", "--output=json"),
                          ("check", "-f", "raw")):
            with self.subTest(arguments=arguments):
                self.assertEqual(*both(*arguments))
        mine, theirs = both("info", "--output=json")
        self.assertEqual(json.loads(mine), json.loads(theirs))

    def test_nbdcopy_there_and_back(self):
        for image_format in ("raw", "qcow2"):
            with self.subTest(format=image_format):
                disk = getattr(self, image_format)()
                source = self.raw("source.raw", data=pattern(0, 5000, 3))
                self.serve(disk, "-e", "8")
                tool("nbdcopy", "--flush", source.path, self.uri)
                tool("nbdcopy", self.uri, self.directory / "back.raw")
                self.stop()
                self.assertEqual(sha256(self.directory / "back.raw"), sha256(source.path))
                self.assertEqual(disk.contents(), source.path.read_bytes())
                if image_format == "qcow2":
                    disk.check()

    def test_qemu_img_converts_compares_and_writes(self):
        disk = self.qcow2()
        source = self.raw("source.raw", data=bytes(MIB) + pattern(0, 3000, 9))
        self.serve(disk, "-e", "2")
        qemu_img("convert", "-n", "-f", "raw", "-O", "raw", source.path, self.uri)
        qemu_img("compare", "-f", "raw", "-F", "raw", source.path, self.uri)
        tool("qemu-io", "-f", "raw", "-c", "write -f -P 1 64k 4k", "-c", "write -zu 0 64k", "-c", "discard 1M 64k",
             "-c", "aio_write -P 3 3M 512k", "-c", "aio_flush", "-c", "flush", "-c", "read -P 3 3M 512k", self.uri)
        self.stop()
        disk.check()

    def test_tcp_port_on_the_loopback(self):
        disk = self.raw(data=pattern(0, 100, 4))
        server = subprocess.Popen([HULL, "nbd", "-v", "--port", "0", "-x", "disk", disk.path], stdout=subprocess.PIPE, text=True)
        uri = server.stdout.readline().strip()
        self.assertRegex(uri, r"^nbd://127\.0\.0\.1:\d+/disk$")
        self.assertEqual(tool("nbdinfo", "--size", uri).strip(), str(4 * MIB))
        # It was not persistent: with its client it goes.
        self.assertEqual(server.wait(LIMIT), OK)
        server.stdout.close()


class Behaviour(NbdTest):
    def test_read_only_export_refuses_writes(self):
        disk = self.raw(data=pattern(0, 10, 1))
        before = sha256(disk.path)
        self.serve(disk, "--read-only")
        self.assertIn("is_read_only: true", tool("nbdinfo", self.uri))
        failed = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 4k", self.uri], capture_output=True, check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.stop()
        self.assertEqual(sha256(disk.path), before)

    def test_snapshot_leaves_the_image_alone(self):
        disk = self.raw(data=pattern(0, 10, 1))
        before = sha256(disk.path)
        self.serve(disk, "--snapshot", "-e", "2")
        tool("qemu-io", "-f", "raw", "-c", "write -P 9 0 64k", self.uri)
        tool("qemu-io", "-r", "-f", "raw", "-c", "read -P 9 0 64k", self.uri)
        self.stop()
        self.assertEqual(sha256(disk.path), before)

    def test_image_is_locked_while_it_is_served(self):
        disk = self.qcow2()
        self.serve(disk)
        self.assertTrue(self.locked(disk))
        second = self.hull("nbd", "-f", "qcow2", "--socket", self.directory / "other.sock", disk.path)
        self.expect_error(second, BUSY, disk.path.name)
        self.stop()
        self.assertFalse(self.locked(disk))
        disk.check()

    def test_stop_with_a_connected_client_closes_the_image(self):
        disk = self.qcow2()
        self.serve(disk)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket))
            client.recv(18)
            self.stop()
            self.assertEqual(client.recv(1), b"")
        disk.check()

    def test_killed_server_leaves_a_socket_that_the_next_one_replaces(self):
        disk = self.raw()
        os.kill(self.serve(disk), signal.SIGKILL)
        self.wait_for(lambda: not self.locked(disk) and not self.answers(), "the killed server to let go")
        self.assertTrue(self.socket.exists())
        self.serve(disk)
        self.assertEqual(tool("nbdinfo", "--size", self.uri).strip(), str(4 * MIB))

    def test_mistakes_get_one_line(self):
        disk = self.raw()
        self.expect_error(self.hull("nbd", disk.path), USAGE, "--socket")
        self.expect_error(self.hull("nbd", "--socket", self.socket, "--port", "1", disk.path), USAGE, "--port")
        self.expect_error(self.hull("nbd", "--socket", self.socket, "-f", "vdi", disk.path), USAGE, "vdi")
        self.expect_error(self.hull("nbd", "--socket", self.socket, "-e", "9999", disk.path), USAGE, "--shared")
        self.expect_error(self.hull("nbd", "--socket", self.socket, "--cache=warm", disk.path), USAGE, "warm")
        self.expect_error(self.hull("nbd", "--port", "0", "--bind", "example.org", disk.path), REFUSED, "numeric")
        self.expect_error(self.hull("nbd", "--socket", disk.path, disk.path), REFUSED, "no socket")
        self.expect_error(self.hull("nbd", "--socket", self.directory / ("x" * 120), disk.path), REFUSED, "socket")
        self.expect_error(self.hull("nbd", "--socket", self.socket, self.directory / "absent.raw"), ERROR, "absent.raw")
        self.assertFalse(self.socket.exists())
        self.expect_error(self.hull("nbd", "--fork", "--socket", self.socket, self.directory / "absent.raw"), ERROR)


class Client(NbdTest):
    """Disks on NBD servers: hull's own, qemu-nbd and nbdkit."""

    AGENDA = "blk.fill,count=2048;blk.flush;blk.verify,count=2048;blk.verify,start=2048,zero"

    def run_on(self, uri, agenda=AGENDA, options=""):
        return self.hull("run", "--kernel", "hull:guest", "--memory", "64M", "--append", f"hull.do={agenda}",
                         "--disk", f"{uri},format=raw{options}")

    def background(self, *arguments):
        """A server of somebody else, ready when its socket is there."""
        process = subprocess.Popen([str(a) for a in arguments], stdout=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        self.wait_for(self.socket.exists, "the server's socket")
        self.wait_for(self.answers, "the server")

    def test_guest_on_hull(self):
        disk = self.qcow2()
        self.serve(disk, "--discard=unmap")
        self.expect_success(self.run_on(self.uri, options=",discard=unmap"))
        self.stop()
        disk.check()
        self.assertEqual(disk.contents()[:MIB], pattern(0, 2048))

    def test_guest_on_qemu_nbd(self):
        disk = self.qcow2()
        self.background("qemu-nbd", "-t", "-e", "8", "-f", "qcow2", "-k", self.socket, disk.path)
        self.expect_success(self.run_on(self.uri))
        self.expect_success(self.run_on(self.uri, "blk.verify,count=2048"))

    def test_guest_on_nbdkit(self):
        self.background("nbdkit", "-f", "-U", self.socket, "memory", "4M")
        self.expect_success(self.run_on(self.uri))

    def test_guest_goes_on_when_a_killed_server_comes_back(self):
        """What the server had answered and not stored is there all the same."""
        disk = self.qcow2()
        pid = self.serve(disk)
        agenda = ";".join(f"blk.fill,start={start},count=512,seed={seed}" for seed in (1, 2) for start in range(0, 8192, 512))
        agenda += ";blk.flush;blk.verify,seed=2"
        guest = self.start("run", "--kernel", "hull:guest", "--memory", "64M", "--append", f"hull.do={agenda}",
                           "--disk", f"{self.uri},format=raw")
        for _ in range(3):
            self.wait_for_line(guest, "hull-guest: ok blk.fill")
            os.kill(pid, signal.SIGKILL)
            self.wait_for(lambda: not self.locked(disk) and not self.answers(), "the killed server to let go")
            self.pid.unlink()
            pid = self.serve(disk)
        rest = guest.stdout.read().decode()
        self.assertEqual(guest.wait(LIMIT), OK, rest)
        self.assertIn("hull-guest: ok blk.verify", rest)
        self.assertIn("connecting again", guest.stderr.read().decode())
        self.stop()
        disk.check()
        self.assertEqual(disk.contents(), pattern(0, 8192, 2))

    def test_end_does_not_wait_for_a_server_that_is_gone(self):
        disk = self.raw()
        pid = self.serve(disk)
        guest = self.start("run", "--kernel", "hull:guest", "--memory", "64M", "--append", "hull.do=blk.info;blk.fill;blk.fill hull.end=halt",
                           "--grace", "0", "--disk", f"{self.uri},format=raw", stderr=subprocess.STDOUT)
        self.wait_for_line(guest, "hull-guest: ok blk.info")
        os.kill(pid, signal.SIGKILL)
        self.pid.unlink()
        self.wait_for_line(guest, "connecting again")
        guest.send_signal(signal.SIGTERM)
        started = time.monotonic()
        guest.wait(LIMIT)
        self.assertLess(time.monotonic() - started, 20, "and not the half minute for which the server is looked for")

    def test_guest_described_by_xml(self):
        disk = self.raw()
        self.serve(disk)
        xml = (f"<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name=''>"
               f"<host transport='unix' socket='{self.socket}'/></source><target dev='vda' bus='virtio'/></disk>")
        self.expect_success(self.run_xml(domain_xml(cmdline=f"hull.do={self.AGENDA}", devices=xml)))
        self.stop()
        self.assertEqual(disk.contents()[:MIB], pattern(0, 2048))

    def test_overlay_over_a_server_that_the_document_names(self):
        self.serve(self.raw("base.raw", data=pattern(0, 8192, 7)), "-r")
        overlay = self.qcow2("overlay.qcow2")
        xml = (f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{overlay.path}'/>"
               f"<backingStore type='network'><format type='raw'/><source protocol='nbd' name=''>"
               f"<host transport='unix' socket='{self.socket}'/></source><backingStore/></backingStore>"
               f"<target dev='vda' bus='virtio'/></disk>")
        agenda = "blk.verify,seed=7;blk.fill,count=64;blk.verify,count=64;blk.verify,start=64,count=1000,seed=7"
        self.expect_success(self.run_xml(domain_xml(cmdline=f"hull.do={agenda}", devices=xml)))

    def test_image_cannot_name_a_server(self):
        self.serve(self.raw("base.raw"), "-r")
        overlay = self.qcow2("overlay.qcow2")
        qemu_img("rebase", "-u", "-f", "qcow2", "-b", self.uri, "-F", "raw", overlay.path)
        self.expect_error(self.run_guest("blk.info", [overlay]), ERROR, "backingStore")

    def test_map_over_qemu_nbd_agrees(self):
        disk = self.qcow2()
        tool("qemu-io", "-f", "qcow2", "-c", "write -P 5 1M 64k", "-c", "write -z 2M 64k", disk.path)
        self.background("qemu-nbd", "-t", "-e", "8", "-r", "-f", "qcow2", "-k", self.socket, disk.path)
        ours = self.hull("img", "map", "--output=json", "-f", "raw", self.uri)
        self.assertEqual(ours.code, OK, ours)
        self.assertEqual([(e["start"], e["length"], e["data"], e["zero"]) for e in json.loads(ours.out)],
                         [(0, MIB, False, True), (MIB, 65536, True, False), (MIB + 65536, 3 * MIB - 65536, False, True)])

    def test_mistakes_get_one_line(self):
        self.expect_error(self.run_on("nbd+unix:///?socket=" + str(self.directory / "absent")), ERROR, "absent")
        self.expect_error(self.run_on("nbds://127.0.0.1/"), REFUSED, "TLS")
        self.expect_error(self.run_on("nbd://example.org/"), REFUSED, "numeric")
        self.serve(self.raw(), "-r", "-x", "disk")
        self.expect_error(self.run_on(self.uri), REFUSED, "no export")
        self.expect_error(self.run_on(self.uri.replace("///", "///disk")), REFUSED, "read-only")
        self.expect_success(self.run_on(self.uri.replace("///", "///disk"), "blk.info", ",readonly=on"))


if __name__ == "__main__":
    unittest.main()
