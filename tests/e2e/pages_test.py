"""Every command in README.md, docs/ and the manual pages is known here: it is run and does what its page says, or it
stands in ELSEWHERE with what runs it. A command that no row names fails, and so does a row whose command is gone.
"""

import os
import pathlib
import re
import shlex
import subprocess
import unittest

from support import HULL, LIMIT, MIB, ROOT, HullTest, domain_xml, qemu_img

WORDLESS = r"\A\Z"  # it says nothing on success
GUEST_ENDED = r"hull-guest: end by=\w+ failed=0"

# Command: what its output has to match. The exit status is 0.
RUN = {
    "hull run web.xml": GUEST_ENDED,
    "hull run - < web.xml": GUEST_ENDED,
    "hull run --kernel vmlinuz --initrd initrd --append 'console=ttyS0 root=/dev/vda' --disk disk.qcow2,format=qcow2 "
    "--net tap,ifname=tap0 --memory 1G --vcpus 2": GUEST_ENDED,
    "hull run --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0 root=/dev/vda panic=-1' --disk disk.qcow2,format=qcow2 "
    "--memory 1G --vcpus 2 --ephemeral --timeout 600": GUEST_ENDED,
    "hull run --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0 root=/dev/vda ip=192.0.2.2::192.0.2.1:255.255.255.0::eth0:off' "
    "--disk disk.qcow2,format=qcow2 --net tap,ifname=tap0": GUEST_ENDED,
    "hull run job.xml --ephemeral --timeout 600": GUEST_ENDED,
    "hull run job.xml --quiet --result result.json": GUEST_ENDED,
    "hull run web.xml --console file:web.log": WORDLESS,
    "hull pack src in.raw": WORDLESS,
    "hull img create -q -f raw out.raw 64M": WORDLESS,
    "hull run --kernel hull:guest --append hull.do=blk.copy,dev=0,to=1 --disk in.raw,readonly=on --disk out.raw": GUEST_ENDED,
    "hull run --kernel hull:guest --append hull.do=blk.copy,dev=0,to=1 --in src --out results": GUEST_ENDED,
    "hull unpack out.raw results": WORDLESS,
    "hull run --kernel hull:guest --append hull.do=facts": GUEST_ENDED,
    "hull run --kernel hull:guest --append hull.do=facts --quiet --result result.json": GUEST_ENDED,
    "hull img create -f qcow2 -b base.qcow2 -F qcow2 job.qcow2": "Formatting 'job.qcow2', fmt=qcow2",
    "hull img info job.qcow2": "backing file: base.qcow2",
    "hull img check job.qcow2": "No errors were found",
    "hull img convert -c -O qcow2 job.qcow2 small.qcow2": WORDLESS,
    "hull img snapshot -c before job.qcow2": WORDLESS,
    "hull-img create -f qcow2 base.qcow2 20G": "Formatting 'base.qcow2'",
    "hull-img create -f qcow2 -b base.qcow2 -F qcow2 vm.qcow2": "Formatting 'vm.qcow2'",
    "hull-img info --backing-chain vm.qcow2": r"(?s)image: vm\.qcow2.*image: base\.qcow2",
    "hull-img convert -p -c -O qcow2 vm.qcow2 release.qcow2": r"\(100\.00/100%\)",
    "hull-img check vm.qcow2": "No errors were found",
    "cp vm.qcow2 vm.copy": WORDLESS,
    "hull-img check -r all vm.qcow2": "No errors were found",
    "nbdcopy -- [ hull nbd -f qcow2 web.qcow2 ] web.raw": WORDLESS,
    "hull nbd -t -e 8 -f qcow2 --socket /run/job.sock job.qcow2": WORDLESS,
    "hull nbd --fork -t -e 8 -k /run/web.sock -f qcow2 web.qcow2": WORDLESS,
    "nbdinfo --map 'nbd+unix:///?socket=/run/web.sock'": r"^0 +4194304 +\d",
    "nbdcopy 'nbd+unix:///?socket=/run/web.sock' copy.raw": WORDLESS,
    "hull doctor": r"(?m)^ok +trial ",
    "hull validate web.xml": r"(?m)^web\.xml: accepted$",
    "hull doctor --json": '"passed": true',
    "hull help run": r"(?m)^  --kernel ",
    "ip tuntap add dev tap0 mode tap user YOU": WORDLESS,
    "ip addr add 192.0.2.1/24 dev tap0": WORDLESS,
    "ip link set tap0 up": WORDLESS,
    "sysctl -w net.ipv4.ip_forward=1": r"^net\.ipv4\.ip_forward = 1$",
    "nft add table ip hull": WORDLESS,
    "nft 'add chain ip hull post { type nat hook postrouting priority srcnat; }'": WORDLESS,
    "nft add rule ip hull post ip saddr 192.0.2.0/24 oifname eth0 masquerade": WORDLESS,
    "dnsmasq --interface=tap0 --bind-interfaces --dhcp-range=192.0.2.10,192.0.2.100": WORDLESS,
    "ip link add br0 type bridge": WORDLESS,
    "ip addr add 192.0.2.1/24 dev br0": WORDLESS,
    "ip link set br0 up": WORDLESS,
}
# Servers without an end: what is there when they serve. They are asked to end then.
SERVERS = {"hull nbd -t -e 8 -f qcow2 --socket /run/job.sock job.qcow2": "/run/job.sock"}
STOCK = "tests/nested/debian_test.py"
CLOUD = "tests/e2e/cloud_image_test.py, with a stand-in for the image"
ELSEWHERE = {
    "hull run disk.qcow2": "tests/e2e/bios_test.py, with a boot sector on the disk",
    "hull run disk.qcow2 --net user": "tests/e2e/user_network_test.py, with hull's guest",
    "hull run disk.qcow2 -p 2222:22": "tests/nested/linux_test.py, with a stock kernel",
    "hull run disk.qcow2 -p 8080:80 -p 2222:22": "tests/e2e/user_network_test.py, with hull's guest",
    "tools/demo": "tools/dev/bare-debian",
    "hull-img convert -O raw nbd://backup.example:10809/disk disk.raw": "wants a server; tests/e2e/nbd_test.py has one",
    "tools/demo --linux": "tests/tools/demo_test.py",
    "tools/test": "it runs this test",
    "tools/dev/setup && cmake --preset release && ninja -C build/release hull": "tools/dev/bare-debian",
    "build/release/tools/hull/hull doctor": "tools/dev/bare-debian",
    "cmake --install build/release": "tests/tools/package_test.py",
    "ninja -C build/release deb": "tests/tools/package_test.py",
    "cmake --preset release && ninja -C build/release": "tools/test",
    "tests/bench/run": "tests/tools/bench_test.py, its shortest form",
    "tests/bench/images": "tests/tools/bench_test.py, its shortest form",
    "tests/bench/linux": "some minutes, on an emulated machine; by hand",
    "docs/examples/debian-image bookworm guest": STOCK,
    "docs/examples/debian-image bookworm guest make gcc libc6-dev": STOCK,
    "docs/examples/make-test src results": STOCK,
    "cat results/status results/log": STOCK,
    "hull run --kernel guest/vmlinuz --initrd guest/initrd.img --disk guest/disk.qcow2,format=qcow2 --ephemeral --in src --out results --status-from status "
    "--result result.json --timeout 600 --append 'console=ttyS0 panic=-1 root=/dev/vda rw init=/bin/sh -- -c \"mkdir /job; cd /job; tar -xf /dev/vdb; "
    "make test >log 2>&1; echo $? >status; tar -cf /dev/vdc status log; poweroff -ff\"'": STOCK,
    "hull img create -f qcow2 -b disk.qcow2 -F qcow2 guest/mine.qcow2": STOCK,
    "hull run --kernel guest/vmlinuz --initrd guest/initrd.img --append 'console=ttyS0 root=/dev/vda rw' --disk guest/mine.qcow2,format=qcow2 "
    "--memory 1G --vcpus 2": STOCK,
    "hull img info --contents debian-12-genericcloud-amd64.qcow2": CLOUD,
    "hull img convert -O raw debian-12-genericcloud-amd64.qcow2 image.raw": CLOUD,
    "mount -o ro,loop,offset=128MiB image.raw /mnt": CLOUD,
    "cp /mnt/boot/vmlinuz-* vmlinuz; cp /mnt/boot/initrd.img-* initrd.img": CLOUD,
}


def one_line(text):
    return " ".join(text.split())


def commands_of(page):
    """The commands of a page in their order: indented lines of Markdown, unfilled ones of a manual page."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        blocks = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
        lines = [re.sub(r"\s# .*", "", line) for block in blocks for line in block.replace("\\\n", "").splitlines()]
    else:
        text = text.replace("\\-", "-").replace("\\e\n", "")
        lines = [line for block in re.findall(r"^\.nf\n(.*?)^\.fi", text, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
    return [one_line(line) for line in lines if line.strip()]


PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if p.name != "ARCHITECTURE.md"), *sorted((ROOT / "docs/man").iterdir())]


class Pages(HullTest):
    def prepare(self):
        """What the pages take for granted: images, a document, a kernel. Returns the directory."""
        work = self.directory / "work"
        (work / "bin").mkdir(parents=True)
        (work / "src").mkdir()
        (work / "src/Makefile").write_text("test:\n")
        for name in ("hull", "hull-img"):
            (work / "bin" / name).symlink_to(pathlib.Path(HULL).resolve())
        guest = pathlib.Path(HULL).resolve().parents[2] / "firmware/guest/hull-guest.elf"
        (work / "vmlinuz").symlink_to(guest)
        for name in ("initrd", "initrd.img"):
            (work / name).write_bytes(b"ramdisk")
        for name in ("base", "disk", "web"):
            qemu_img("create", "-q", "-f", "qcow2", work / f"{name}.qcow2", 4 * MIB)
        for name in ("web", "job"):
            (work / f"{name}.xml").write_text(domain_xml(name=name, cmdline="hull.do=facts"))
        return work

    def script(self, commands):
        """A script that runs them one after the other and keeps what each said, and its exit status."""
        lines = ["mount -t tmpfs tmpfs /run", "cd work", "export PATH=$PWD/bin:$PATH:/sbin:/usr/sbin"]
        for number, command in enumerate(commands):
            # Of the words, only those that stand for something of the user's are put in.
            command = command.replace("user YOU", f"user {os.getuid()}")
            if server := SERVERS.get(command):
                command = f"{command} & until [ -S {shlex.quote(server)} ]; do kill -0 $! || exit; sleep 0.1; done; kill $!; wait $!"
            lines.append(f"({command}) </dev/null >../{number}.out 2>&1; echo $? >../{number}.status")
        # Servers that a command has left behind end with the namespace of processes.
        return "\n".join(lines)

    def check_page(self, page):
        commands = [command for command in commands_of(page) if command in RUN]
        self.prepare()
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        subprocess.run(["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", self.script(commands)],
                       cwd=self.directory, check=True, timeout=4 * LIMIT, stdin=subprocess.DEVNULL,
                       env={**os.environ, "HOME": str(self.directory), "XDG_RUNTIME_DIR": "", "XDG_CACHE_HOME": str(self.directory / "cache")})
        for number, command in enumerate(commands):
            with self.subTest(page=page.name, command=command):
                output = (self.directory / f"{number}.out").read_text(errors="replace").replace("\r\n", "\n")
                self.assertEqual((self.directory / f"{number}.status").read_text().strip(), "0", output[-2000:])
                self.assertRegex(output.strip(), RUN[command])

    def test_every_command_has_a_row(self):
        known = RUN.keys() | ELSEWHERE.keys()
        found = {command: page.name for page in PAGES for command in commands_of(page)}
        self.assertEqual({f"{page}: {command}" for command, page in found.items() if command not in known}, set(), "say what they do, or what runs them")
        self.assertEqual(known - found.keys(), set(), "no page has these any more")


def add_page(page):
    def test(self):
        self.check_page(page)
    setattr(Pages, f"test_{re.sub(r'[^a-z]', '_', page.name.lower())}", test)


for one in PAGES:
    if any(command in RUN for command in commands_of(one)):
        add_page(one)


if __name__ == "__main__":
    unittest.main()
