"""Documents and command lines that must be refused: one clear line, the right exit code, nothing started."""

import re
import unittest

from support import REFUSED, USAGE, HullTest, domain_xml

GOOD = domain_xml(cmdline="hull.do=facts")


def with_device(xml):
    return domain_xml(cmdline="hull.do=facts", devices=xml)


BAD_DOCUMENTS = {
    "empty": "",
    "not XML": "hello",
    "cut off": GOOD[: len(GOOD) // 2],
    "two roots": GOOD + GOOD,
    "text behind": GOOD + "junk",
    "other root": "<network><name>n</name></network>",
    "internal entity": "<!DOCTYPE d [<!ENTITY e 'x'>]>\n" + GOOD.replace("<name>test", "<name>&e;"),
    "external entity": "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>\n" + GOOD.replace("hull.do", "&e;hull.do"),
    "entity bomb": "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
        f"<!ENTITY {chr(98 + i)} '{('&' + chr(97 + i) + ';') * 10}'>" for i in range(9)) + "]>\n" + GOOD.replace("<name>test", "<name>&j;"),
    "duplicate attribute": GOOD.replace("<domain type='kvm'", "<domain type='kvm' type='kvm'"),
    "mismatched tags": GOOD.replace("</vcpu>", "</vcpus>"),
    "NUL": GOOD.replace("test", "te\0st"),
    "invalid UTF-8": GOOD.encode().replace(b"test", b"t\xff\xfest"),
    "too deep": GOOD.replace("</domain>", "<a>" * 5000 + "</a>" * 5000 + "</domain>"),
    "too many elements": GOOD.replace("</domain>", "<metadata>" + "<a/>" * 100000 + "</metadata></domain>"),
    "no name": GOOD.replace("<name>test</name>", ""),
    "name with slash": GOOD.replace("<name>test", "<name>../../etc/test"),
    "name of dots": GOOD.replace("<name>test", "<name>.."),
    "name with newline": GOOD.replace("<name>test", "<name>te\nst"),
    "name too long": GOOD.replace("<name>test", "<name>" + "n" * 5000),
    "no memory": GOOD.replace("<memory unit='MiB'>64</memory>", ""),
    "memory overflow": GOOD.replace(">64<", ">99999999999999999999999<"),
    "memory wraps": GOOD.replace("'MiB'>64", "'EiB'>17"),
    "memory negative": GOOD.replace(">64<", ">-64<"),
    "memory zero": GOOD.replace(">64<", ">0<"),
    "memory unit": GOOD.replace("'MiB'", "'parsec'"),
    "no processor": GOOD.replace("<vcpu>1", "<vcpu>0"),
    "too many processors": GOOD.replace("<vcpu>1", "<vcpu>1000000"),
    "processors are words": GOOD.replace("<vcpu>1", "<vcpu>many"),
    "other hypervisor": GOOD.replace("type='kvm'", "type='xen'"),
    "other architecture": GOOD.replace("arch='x86_64'", "arch='s390x'"),
    "unknown child of disk": with_device("<disk type='file' device='disk'><source file='/x'/><target dev='vda'/><readonlly/></disk>"),
    "relative disk": with_device("<disk type='file' device='disk'><source file='x.raw'/><target dev='vda'/></disk>"),
    "two disks of one name": with_device("<disk type='file' device='disk'><source file='/x'/><target dev='vda'/></disk>" * 2),
    "partition as target": with_device("<disk type='file' device='disk'><source file='/x'/><target dev='vda1'/></disk>"),
    "other format": with_device("<disk type='file' device='disk'><driver type='vmdk'/><source file='/x'/><target dev='vda'/></disk>"),
    "encrypted disk": with_device("<disk type='file' device='disk'><source file='/x'/><target dev='vda'/><encryption format='luks'/></disk>"),
    "network disk": with_device("<disk type='network' device='disk'><source protocol='rbd' name='x'/><target dev='vda'/></disk>"),
    "tpm": with_device("<tpm model='tpm-crb'><backend type='emulator'/></tpm>"),
    "host device": with_device("<hostdev mode='subsystem' type='pci'><source><address bus='1'/></source></hostdev>"),
    "filesystem": with_device("<filesystem type='mount'><source dir='/'/><target dir='x'/></filesystem>"),
    "vlan": with_device("<interface type='ethernet'><vlan><tag id='1'/></vlan></interface>"),
    "bad MAC": with_device("<interface type='ethernet'><mac address='01:02'/></interface>"),
    "multicast MAC": with_device("<interface type='ethernet'><mac address='01:00:5e:00:00:01'/></interface>"),
    "confidential": domain_xml(elements="<launchSecurity type='sev'/>"),
    "QEMU arguments": GOOD.replace("<domain ", "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0' ").replace(
        "</domain>", "<q:commandline><q:arg value='-s'/></q:commandline></domain>"),
}


class BadDocuments(HullTest):
    def test_each_is_refused(self):
        for what, document in BAD_DOCUMENTS.items():
            with self.subTest(what):
                path = self.directory / "domain.xml"
                path.write_bytes(document.encode() if isinstance(document, str) else document)
                result = self.hull("run", path)
                self.expect_error(result, REFUSED)
                self.assertNotIn("hull-guest", result.out)
                self.assertLess(max(map(len, result.err.splitlines())), 1000, "an unbounded line")

    def test_good_document_is_good(self):
        self.expect_success(self.run_xml(GOOD))

    def test_all_refusals_are_printed_at_once(self):
        document = with_device("<tpm/><hostdev mode='subsystem' type='pci'/><filesystem type='mount'/>")
        result = self.run_xml(document)
        self.expect_error(result, REFUSED, "tpm", "hostdev", "filesystem")

    def test_ignore_turns_a_refusal_into_a_warning(self):
        document = with_device("<tpm model='tpm-crb'/>")
        result = self.run_xml(document, "--ignore", "/domain/devices/tpm")
        self.expect_success(result)
        self.assertRegex(result.err, "(?m)^warning: .*tpm")

    def test_strict_turns_a_warning_into_a_refusal(self):
        document = with_device("<graphics type='vnc'/>")
        result = self.run_xml(document)
        self.expect_success(result)
        self.assertRegex(result.err, "(?m)^warning: .*graphics")
        self.expect_error(self.run_xml(document, "--strict"), REFUSED, "graphics")

    def test_strict_and_ignore_go_together(self):
        document = with_device("<graphics type='vnc'/><tpm model='tpm-crb'/>")
        result = self.run_xml(document, "--strict", "--ignore=graphics", "--ignore=tpm")
        self.expect_success(result)
        self.assertRegex(result.err, "(?m)^warning: .*graphics")

    def test_remedies_that_messages_name_work(self):
        document = with_device("<graphics type='vnc'/><tpm model='tpm-crb'/><hostdev/>"
                               "<memballoon model='virtio'/>").replace("<vcpu>", "<vcpu cpuset='0'>")
        words = ["--strict"]
        for _ in range(2):
            result = self.run_xml(document, *words)
            if result.code == REFUSED:
                words += re.findall(r"\(skip with (--ignore=[^)]*)\)", result.err)
        self.assertEqual(len(words), 6, words)
        self.expect_success(result)

    def test_kernel_may_be_named_beside_the_document(self):
        document = re.sub("<kernel>.*</cmdline>", "<cmdline>hull.do=nothing</cmdline>", GOOD)
        refused = self.run_xml(document)
        self.expect_error(refused, REFUSED, "--kernel FILE")
        self.expect_success(self.run_xml(document, "--kernel", "hull:guest", "--append", "hull.do=facts"))

    def test_findings_have_file_line_and_column(self):
        document = GOOD.replace("<devices>", "<devices>\n  <flux-capacitor/>\n <tpm/>")
        result = self.run_xml(document)
        first = GOOD[:GOOD.index("<devices>")].count("\n") + 1
        self.assertRegex(result.err, rf"(?m)^warning: .*:{first + 1}:3: /domain/devices/flux-capacitor: ")
        self.assertRegex(result.err, rf"(?m)^error: .*:{first + 2}:2: /domain/devices/tpm: ")

    def test_unexpected_children_are_no_crash(self):
        for elements in ("<memoryBacking><hugepages><pages size='1' unit='G'/></hugepages></memoryBacking>",
                         "<clock offset='utc'><timers name='kvmclock' present='no'/></clock>"):
            with self.subTest(elements):
                result = self.run_xml(domain_xml(cmdline="hull.do=facts", elements=elements))
                self.assertRegex(result.err, "(?m)^warning: .*unknown element, ignored")

    def test_unknown_element_warns(self):
        result = self.run_xml(with_device("<flux-capacitor/>"))
        self.expect_success(result)
        self.assertRegex(result.err, "(?m)^warning: .*flux-capacitor")

    def test_missing_document_is_an_error_that_names_it(self):
        result = self.hull("run", self.directory / "absent.xml")
        self.assertNotEqual(result.code, 0)
        self.expect_sane(result)
        self.assertIn("absent.xml", result.err)

    def test_document_beyond_the_limit_is_not_read(self):
        result = self.run_xml(GOOD.replace("</domain>", "<description>" + "x" * (2 << 20) + "</description></domain>"))
        self.expect_error(result, REFUSED, "larger than")

    def test_directory_as_document(self):
        result = self.hull("run", self.directory)
        self.assertNotEqual(result.code, 0)
        self.expect_sane(result)


class BadCommandLines(HullTest):
    def test_each_is_a_usage_error(self):
        kernel = ["--kernel", "hull:guest"]
        for words in (["run"], ["run", "--nonsense"], ["run", *kernel, "--vcpus", "x"],
                      ["run", *kernel, "--disk", "format=raw"], ["run", *kernel, "--disk", "x,colour=red"],
                      ["run", *kernel, "--net", "carrier-pigeon"], ["run", *kernel, "--timeout", "-1"],
                      ["run", *kernel, "--console", "file:"], ["frobnicate"]):
            with self.subTest(" ".join(words)):
                self.expect_error(self.hull(*words), USAGE)

    def test_document_and_options_do_not_mix(self):
        for words in (["--memory", "64M"], ["--disk", "x"], ["--net", "none"], ["--no-rng"], ["--name", "x"]):
            with self.subTest(" ".join(words)):
                self.expect_error(self.run_xml(GOOD, *words), USAGE)

    def test_impossible_sizes_are_refused(self):
        for words in (["--memory", "lots"], ["--memory", "0"], ["--memory", "16E"], ["--vcpus", "0"], ["--vcpus", "100000"], ["--name", "../x"]):
            with self.subTest(" ".join(words)):
                result = self.run_guest("facts", (), *words)
                self.assertIn(result.code, (USAGE, REFUSED), result)
                self.expect_sane(result)

    def test_help(self):
        for words in (["--help"], ["run", "--help"]):
            result = self.hull(*words) if words[0] != "run" else self.hull("run", "--help")
            self.assertEqual(result.code, 0, result)
            self.assertIn("hull", result.out)
        self.assertEqual(self.hull().code, USAGE)


if __name__ == "__main__":
    unittest.main()
