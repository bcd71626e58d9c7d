"""A stock Linux guest: Debian's cloud kernel with its root on ext4 in a copy-on-write image, described by XML.

Runs where /dev/kvm can carry a stock kernel (tests/nested/run). $HULL_LINUX_GUEST is what tools/dev/linux-guest made.
"""

import faulthandler
import functools
import hashlib
import http.server
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from support import MIB, OK, Disk, HullTest, domain_xml, qemu_img, sha256  # noqa: E402

GUEST = pathlib.Path(os.environ["HULL_LINUX_GUEST"])
NUMBERS = "".join(f"{i}\n" for i in range(1, 100001)).encode()
HOST_ADDRESS, GUEST_ADDRESS = "10.77.0.1", "10.77.0.2"
TAP = "hulltest0"
LIMIT = 180  # seconds: an emulated machine on a busy host


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class LinuxTest(HullTest):
    def setUp(self):
        super().setUp()
        # Every wait below has a limit; a test that exceeds them all says where it is, and ends the run.
        faulthandler.dump_traceback_later(210, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
        self.base = Disk(GUEST / "root.qcow2", "qcow2")
        self.base_before = sha256(self.base.path)
        self.disk = self.qcow2("overlay.qcow2", 256 * MIB, backing=self.base, discard="unmap")

    def document(self, agenda, vcpus=1, devices="", words=""):
        cmdline = f"console=ttyS0 root=/dev/vda rw quiet panic=-1 hull.do={agenda} {words}"
        return domain_xml("linux", GUEST / "vmlinuz", cmdline, [self.disk], 256, vcpus,
                          devices + "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
                          initrd=str(GUEST / "initramfs.cpio"))

    def boot(self, agenda, **more):
        """Boots to the end of the agenda, on which all must be well."""
        result = self.run_xml(self.document(agenda, **more), limit=LIMIT)
        self.assertEqual(result.code, OK, result)
        self.assertIn("guest: agenda done, 0 failed", result.out, result)
        return result

    def check_images(self):
        self.disk.check()
        self.assertEqual(sha256(self.base.path), self.base_before, "the base has changed")

    def check_files_on_host(self):
        """The file system in the overlay is clean, and holds what the guest has written."""
        raw = self.directory / "root.raw"
        qemu_img("convert", "-f", "qcow2", "-O", "raw", self.disk.path, raw)
        check = subprocess.run(["e2fsck", "-f", "-n", raw], capture_output=True, text=True, check=False)
        self.assertEqual(check.returncode, 0, check.stdout + check.stderr)
        listed = subprocess.run(["debugfs", "-R", "cat /data/numbers", raw], capture_output=True, check=True).stdout
        self.assertEqual(hashlib.sha256(listed).digest(), hashlib.sha256(NUMBERS).digest())
        small = subprocess.run(["debugfs", "-R", "cat /data/small/200", raw], capture_output=True, check=True).stdout
        self.assertEqual(small, b"file 200\n")
        raw.unlink()


class Boot(LinuxTest):
    def test_one_processor_writes_reboots_and_finds_its_files(self):
        result = self.boot("reboot-once,nproc,root,rng,rtc,write")
        self.assertIn("guest: nproc=1", result.out, result)
        self.assertIn("guest: rebooting", result.out, result)
        self.check_images()
        self.check_files_on_host()
        self.assertIn("guest: 202 files", self.boot("check,trim").out)
        self.check_images()

    def test_four_processors(self):
        result = self.boot("nproc,root,write", vcpus=4)
        self.assertIn("guest: nproc=4", result.out, result)
        self.check_images()
        self.check_files_on_host()

    def test_power_button(self):
        path = self.directory / "domain.xml"
        path.write_text(self.document("power-button"))
        process = self.start("run", path, "--grace", "100")
        self.wait_for_line(process, "guest: waiting for the power button")
        process.send_signal(signal.SIGTERM)
        self.wait_for_line(process, "guest: power button pressed")
        self.assertEqual(process.wait(LIMIT), OK)
        self.check_images()


class TwoWays(LinuxTest):
    """Ping, HTTP and TCP in both directions."""

    def setUp(self):
        super().setUp()
        self.blob = os.urandom(2 * MIB)
        served = self.directory / "served"
        served.mkdir()
        (served / "blob").write_bytes(self.blob)
        (served / "blob.sha256").write_text(f"{hashlib.sha256(self.blob).hexdigest()}  blob\n")
        server = http.server.ThreadingHTTPServer(("0.0.0.0", 8000), functools.partial(QuietHandler, directory=str(served)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

    def talk_to_guest(self, address, http_port=80, echo_port=7777):
        """The host's side of the guest's step_net, once its services are up."""
        with urllib.request.urlopen(f"http://{address}:{http_port}/numbers", timeout=60) as answer:
            self.assertEqual(answer.read(), NUMBERS)
        sent, echoed = self.blob[: MIB // 4], b""
        with socket.create_connection((address, echo_port), timeout=60) as connection:
            writer = threading.Thread(target=connection.sendall, args=(sent,))
            writer.start()
            while len(echoed) < len(sent) and (piece := connection.recv(65536)):
                echoed += piece
            writer.join()
        self.assertEqual(echoed, sent)


class Network(TwoWays):
    """Over a tap."""

    def configure_tap(self):
        ip("addr", "add", f"{HOST_ADDRESS}/24", "dev", TAP)
        ip("link", "set", TAP, "up")

    def run_network(self, managed, vcpus):
        interface = (f"<interface type='ethernet'><mac address='52:54:00:77:00:02'/><target dev='{TAP}'{managed}/>"
                     "<model type='virtio'/></interface>")
        path = self.directory / "domain.xml"
        words = f"hull.ip={GUEST_ADDRESS}/24 hull.peer={HOST_ADDRESS}"
        path.write_text(self.document("write,net", vcpus=vcpus, devices=interface, words=words))
        process = self.start("run", path)
        if not managed:
            self.wait_for(lambda: pathlib.Path("/sys/class/net", TAP).exists(), "the tap")
            self.configure_tap()
        seen = self.wait_for_line(process, "guest: echo service is up")
        self.assertIn("guest: write ok", seen)
        ping = subprocess.run(["ping", "-c", "3", "-W", "5", GUEST_ADDRESS], capture_output=True, text=True, check=False)
        self.assertEqual(ping.returncode, 0, ping.stdout)
        self.talk_to_guest(GUEST_ADDRESS)
        rest = self.wait_for_line(process, "guest: agenda done")
        self.assertIn("agenda done, 0 failed", rest)
        self.assertEqual(process.wait(LIMIT), OK)
        self.check_images()

    def test_given_tap(self):
        ip("tuntap", "add", "dev", TAP, "mode", "tap")
        self.addCleanup(ip, "link", "delete", TAP)
        self.configure_tap()
        self.run_network(" managed='no'", 1)

    def test_tap_that_hull_makes_is_gone_afterwards(self):
        self.run_network("", 2)
        self.assertFalse(pathlib.Path("/sys/class/net", TAP).exists())


class NameServer:
    """Answers each question of one name with one address (RFC 1035), over UDP."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.address = socket.inet_aton(address)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                question, sender = self.socket.recvfrom(512)
            except OSError:
                return
            name_end = question.index(b"\0", 12) + 5
            answer = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + self.address
            self.socket.sendto(question[:2] + b"\x81\x80\0\x01\0\x01\0\0\0\0" + question[12:name_end] + answer, sender)


class UserMode(TwoWays):
    """Through passt: DHCP, DNS, ping, HTTP and TCP out of the guest, and into it by published ports."""

    HOST, UPLINK = "192.0.2.2", "hullup0"

    def test_stock_guest_by_dhcp_and_published_ports(self):
        ip("tuntap", "add", "dev", self.UPLINK, "mode", "tap")
        self.addCleanup(ip, "link", "delete", self.UPLINK)
        ip("addr", "add", f"{self.HOST}/24", "dev", self.UPLINK)
        ip("link", "set", self.UPLINK, "up")
        ip("link", "set", "lo", "up")
        ip("route", "replace", "default", "via", "192.0.2.1")
        pathlib.Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")  # passt pings as nobody
        self.addCleanup(NameServer(self.HOST).socket.close)
        words = f"console=ttyS0 root=/dev/vda rw quiet panic=-1 hull.do=write,dhcp,net hull.peer={self.HOST}"
        process = self.start("run", "--kernel", GUEST / "vmlinuz", "--initrd", GUEST / "initramfs.cpio", "--append", words, "--disk", self.disk.argument(),
                             "--memory", "256M", "--net", f"user,dns={self.HOST}", "-p", "18080:80", "-p", "17777:7777")
        seen = self.wait_for_line(process, "guest: echo service is up")
        self.assertIn("10.0.2.15/24", seen)
        self.assertIn(self.HOST, seen[seen.index("peer.test"):])
        self.assertIn("guest: dhcp ok", seen)
        self.talk_to_guest("127.0.0.1", 18080, 17777)
        rest = self.wait_for_line(process, "guest: agenda done")
        self.assertIn("agenda done, 0 failed", rest)
        self.assertEqual(process.wait(LIMIT), OK)
        self.check_images()


if __name__ == "__main__":
    unittest.main()
