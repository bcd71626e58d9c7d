"""Networks in user mode: what carries them starts and ends with the guest, and says why it cannot."""

import json
import os
import pathlib
import re
import signal
import subprocess

from support import BUSY, HOST, LIMIT, OK, REFUSED, USAGE, HullTest, domain_xml

# A host with one interface and a default route, of which nothing is real.
PLACE = """ip link set lo up && ip tuntap add up0 mode tap && ip address add 192.0.2.2/24 dev up0 &&
ip link set up0 up && ip route add default via 192.0.2.1 && exec "$@" """
UNSHARE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
INSIDE = [*UNSHARE, "sh", "-c", PLACE, "sh"]


class UserNetwork(HullTest):
    def run_inside(self, agenda, *options):
        return self.hull(*self.guest_arguments(agenda, (), *options), prefix=INSIDE)

    def start_inside(self, *words, **options):
        process = subprocess.Popen([*INSIDE, *self.command("run", *words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def helper_of(self, process):
        """The process number of the passt that this hull has started."""
        path = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        self.wait_for(lambda: path.read_text().split(), "passt")
        return int(path.read_text().split()[0])

    @staticmethod
    def lives(number):
        try:
            return pathlib.Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def test_guest_sees_a_link_and_its_mtu(self):
        result = self.run_inside("net.info", "--net", "user,mac=52:54:00:01:02:03")
        self.expect_success(result)
        values = result.values("net.info")
        self.assertEqual((values["mac"], values["link"], values["mtu"]), ("0x525400010203", "1", "32000"))
        self.assertEqual(self.run_inside("net.info", "--net", "user,mtu=1400").values("net.info")["mtu"], "1400")

    def test_gateway_answers(self):
        """passt's ARP comes back through the device; the host itself does not answer unless it is opened."""
        result = self.run_inside("net.ping,ip=10.0.2.15,to=10.0.2.2,count=1", "--net", "user", "--debug")
        self.assertIn("net0: frame dropped: to the host", result.err)  # so ARP was answered before
        self.assertIn("FAIL net.ping no answer", result.out)

    def test_document_and_options_are_the_same(self):
        devices = ("<interface type='user'><mac address='52:54:00:01:02:03'/><model type='virtio'/>"
                   "<portForward proto='tcp' address='127.0.0.1'><range start='8080' to='80'/></portForward></interface>")
        document = self.directory / "domain.xml"
        document.write_text(domain_xml(cmdline="hull.do=net.info", devices=devices))
        for words in ([document], self.guest_arguments("net.info", (), "--net", "user,mac=52:54:00:01:02:03", "-p", "8080:80")[1:]):
            result = self.hull("run", *words, "--events", "fd:1", prefix=INSIDE)
            self.expect_success(result)
            started = json.loads(re.search(r'^{.*"started".*$', result.out, re.MULTILINE)[0])
            self.assertEqual(started["networks"], [{
                "mac": "52:54:00:01:02:03", "address": "10.0.2.15",
                "published": [{"protocol": "tcp", "host_address": "127.0.0.1", "host_port": 8080, "guest_port": 80}]}])

    def test_free_port_is_chosen_and_said(self):
        result = self.run_inside("net.info", "-p", "80", "-p", "81", "--events", "fd:1")
        self.expect_success(result)
        started = json.loads(re.search(r'^{.*"started".*$', result.out, re.MULTILINE)[0])
        ports = [one["host_port"] for one in started["networks"][0]["published"]]
        self.assertEqual(len(set(ports)), 2)
        self.assertNotIn(0, ports)

    def test_port_that_is_taken_stops_the_start(self):
        script = PLACE.replace('exec "$@"', "python3 -c 'import socket, subprocess, sys\ns = socket.create_server((\"127.0.0.1\", 8080))\n"
                               "sys.exit(subprocess.call(sys.argv[1:]))' \"$@\"")
        result = self.hull(*self.guest_arguments("net.info", (), "-p", "8080:80"), prefix=[*UNSHARE, "sh", "-c", script, "sh"])
        self.expect_error(result, BUSY, "port 127.0.0.1:8080/tcp is taken")
        self.assertNotIn("hull-guest: start", result.out)

    def test_host_without_a_route_is_said(self):
        result = self.hull(*self.guest_arguments("net.info", (), "--net", "user"), prefix=UNSHARE)
        self.expect_error(result, HOST, "the host has no default route", "--net none")

    def test_passt_that_is_missing_is_said(self):
        result = self.run_inside("net.info", "--net", "user")
        self.expect_success(result)
        environment = {**os.environ, "PATH": str(self.directory)}
        result = self.hull(*self.guest_arguments("net.info", (), "--net", "user"), env=environment)
        self.expect_error(result, HOST, "passt", "is not installed", "apt install passt")

    def test_passt_that_may_not_have_namespaces_is_said(self):
        script = PLACE.replace("exec", "echo 0 >/proc/sys/user/max_user_namespaces && exec")
        user = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script, "sh"]
        result = self.hull(*self.guest_arguments("net.info", (), "--net", "user"), prefix=user)
        self.expect_error(result, HOST, "user namespaces", "--net tap")

    def test_guest_outlives_its_network(self):
        process = self.start_inside(*self.guest_arguments("net.serve,ip=10.0.2.15,seconds=2", (), "--net", "user")[1:])
        self.wait_for_line(process, "net.serve ip=10.0.2.15 ready")
        os.kill(self.helper_of(process), signal.SIGKILL)
        out, err = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, OK, err)
        self.assertIn(b"net0: network lost: passt has ended", err)
        self.assertIn(b"end by=auto failed=0", out)

    def test_helper_ends_with_hull_however_that_ends(self):
        for one in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=one.name):
                process = self.start_inside(*self.guest_arguments("net.serve,ip=10.0.2.15,seconds=600", (), "--net", "user", "--grace", "0")[1:])
                self.wait_for_line(process, "ready")
                helper = self.helper_of(process)
                self.assertTrue(self.lives(helper))
                process.send_signal(one)
                process.wait(LIMIT)
                self.wait_for(lambda: not self.lives(helper), "passt's end")

    def test_helper_has_no_descriptor_of_ours(self):
        """Whatever hull was given, and whatever it has opened: a program in passt's place says what it got."""
        fake = self.directory / "passt"
        fake.write_text(f"#!/bin/sh\nls /proc/$$/fd >{self.directory}/descriptors\necho oh no >&2\nexit 1\n")
        fake.chmod(0o755)
        disk = self.raw()
        result = self.hull(*self.guest_arguments("net.info", (disk,), "--net", "user"), prefix=["sh", "-c", 'exec "$@" 7</dev/null', "sh"],
                           env={**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}"})
        self.expect_error(result, HOST, "net0: passt has ended: oh no")
        numbers = (self.directory / "descriptors").read_text().split()
        self.assertEqual([number for number in numbers if int(number) < 10], ["0", "1", "2", "3"])  # the shell's own are above

    def test_reset_keeps_the_network(self):
        result = self.run_inside("net.info", "--net", "user", "--on-reboot", "restart", "--timeout", "3", "--events", "fd:1")
        self.expect_success(result)
        process = self.start_inside(*self.guest_arguments("net.info", (), "--net", "user", "--on-reboot", "restart", "--timeout", "2", end="reset")[1:])
        out, err = process.communicate(timeout=LIMIT)
        self.assertGreater(out.count(b"link=1"), 1, err)
        self.assertEqual(err.count(b"network lost"), 0, err)

    def test_mistakes_are_named(self):
        for words, code, said in ((["--net", "slirp"], USAGE, "none, user, tap, null"), (["--net", "user,bridge=br0"], USAGE, "bridge= is of --net tap"),
                                  (["-p", "99999:80"], USAGE, "--publish 99999:80: '99999' is not a port"), (["--net", "tap", "-p", "80"], USAGE, "--publish needs --net user"),
                                  (["--net", "user,address=127.0.0.1"], REFUSED, "is no address of a guest"), (["--net", "user,mtu=40000"], REFUSED, "32768"),
                                  (["-p", "80:80", "-p", "80:81"], REFUSED, "published twice"), (["--net", "user,dns=127.0.0.53"], REFUSED, "DNS server")):
            with self.subTest(words=words):
                self.expect_error(self.hull(*self.guest_arguments("net.info", (), *words)), code, said)
        document = domain_xml(devices="<interface type='user'><model type='virtio'/><portForward proto='tcp'/></interface>")
        self.expect_error(self.run_xml(document), REFUSED, "name them by <range>")

    def test_device_tree_needs_no_helper(self):
        tree = self.directory / "tree"
        environment = {**os.environ, "PATH": str(self.directory)}
        result = self.hull(*self.guest_arguments("net.info", (), "--net", "user", "--dump-dtb", tree), env=environment)
        self.assertEqual(result.code, OK, result)
        self.assertTrue(tree.stat().st_size)

    def test_doctor_tries_it(self):
        for prefix, status in ((INSIDE, "ok"), (UNSHARE, "note")):
            result = self.hull("doctor", "--json", prefix=prefix)
            check = next(check for check in json.loads(result.out)["checks"] if check["name"] == "user-net")
            self.assertEqual(check["status"], status, check)
