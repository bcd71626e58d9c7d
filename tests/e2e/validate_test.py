"""hull validate: what it says of documents, that it touches nothing, and that libvirt's parser refuses the same values."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import unittest
import xml.etree.ElementTree as ElementTree

from support import ERROR, HULL, OK, REFUSED, ROOT, USAGE, HullTest, domain_xml

DOCUMENTS = ROOT / "tests/data/domain"
GOOD = domain_xml()
WARNED = domain_xml(devices="\n<graphics type='vnc'/>")
BAD = domain_xml(devices="\n<tpm/>\n <graphics type='vnc'/>")
NONSENSE = "bogus-value"
# Texts that are names or descriptions: the parser takes anything, and where it complains it is not about the words.
FREE = re.compile(r"/(name|title|description|metadata|entry|serial|secret|model|path|feature/@name|@dev|@file|@listen|@address|@wwpn)$")


class Validate(HullTest):
    def write(self, name, document):
        path = self.directory / name
        path.write_text(document)
        return path

    def test_exit_code_says_whether_it_would_be_started(self):
        good, warned, bad = (self.write(n, d) for n, d in (("good.xml", GOOD), ("warned.xml", WARNED), ("bad.xml", BAD)))
        for words, code in (([good], OK), ([warned], OK), ([good, warned, bad], REFUSED), (["--strict", warned], REFUSED),
                            (["--strict", "--ignore=graphics", warned], OK), (["--ignore=tpm", bad], OK),
                            ([self.directory / "absent.xml", bad], ERROR), ([], USAGE), (["--table", good], USAGE)):
            with self.subTest(words=words):
                self.assertEqual(self.hull("validate", *words).code, code)

    def test_finding_is_a_line_with_place_verdict_path_and_remedy(self):
        bad = self.write("bad.xml", BAD)
        line = BAD[:BAD.index("<tpm/>")].count("\n") + 1
        result = self.hull("validate", bad)
        self.assertEqual(result.out.splitlines(), [
            f"warning: {bad}:{line + 1}:2: /domain/devices/graphics: graphics, video and input devices are left out (headless: use the "
            "serial console)",
            f"error: {bad}:{line}:1: /domain/devices/tpm: refused: guest may depend on it to unlock disks (skip with --ignore=tpm)",
            f"{bad}: refused"])
        self.assertEqual(result.err, "")
        # hull run says the same.
        self.assertEqual(self.hull("run", bad).err.splitlines(), result.out.splitlines()[:-1])

    def test_json_has_the_same(self):
        bad = self.write("bad.xml", BAD)
        broken = self.write("broken.xml", "<domain>")
        result = self.hull("validate", "--json", bad, broken)
        self.assertEqual(result.code, REFUSED)
        first, second = json.loads(result.out)["documents"]
        self.assertEqual((first["file"], first["accepted"], first["name"]), (str(bad), False, "test"))
        self.assertEqual([(f["verdict"], f["xpath"], f["remedy"]) for f in first["findings"]],
                         [("warn", "/domain/devices/graphics", ""), ("refuse", "/domain/devices/tpm", "skip with --ignore=tpm")])
        self.assertGreater(first["findings"][0]["line"], 1)
        self.assertEqual(second["findings"], [])
        self.assertIn(f"{broken}:1:", second["error"])

    def test_standard_input(self):
        result = self.hull("validate", "-", stdin=BAD)
        self.assertEqual(result.code, REFUSED)
        self.assertRegex(result.out, r"(?m)^error: standard input:\d+:1: /domain/devices/tpm: ")

    def test_touches_nothing(self):
        precious = self.write("console.log", "keep")
        document = self.write("domain.xml", domain_xml(
            kernel=self.directory / "no-kernel", devices=f"<disk type='file'><source file='{precious}'/><target dev='vda'/></disk>"
            f"<serial type='file'><source path='{precious}'/><log file='{self.directory}/log'/></serial>"
            "<interface type='ethernet'><model type='virtio'/><target dev='hulltap9'/></interface>"))
        trace = self.directory / "trace"
        result = self.hull("validate", document, prefix=["strace", "-f", "-e", "trace=file,ioctl,socket", "-o", trace])
        self.assertEqual((result.code, precious.read_text()), (OK, "keep"), result)
        calls = trace.read_text()
        opened = {m for m in re.findall(r'open(?:at)?\([^"]*"([^"]*)"', calls)} - {str(document)}
        # A build with shared libraries opens those; one with a sanitizer looks at itself.
        self.assertEqual({p for p in opened if not re.match(r"/(etc/ld|lib|usr/lib|proc/self|sys/kernel/mm)", p)}, set())
        self.assertNotRegex(calls, r"socket\(|KVM_|TUNSET|O_CREAT|mkdir\(|unlink")
        self.assertEqual({p.name for p in self.directory.iterdir()}, {"console.log", "domain.xml", "trace"})

    def test_table_and_what_is_made_of_it_are_up_to_date(self):
        rows = json.loads(self.hull("validate", "--table", "--json").out)
        self.assertGreater(len(rows["verdicts"]), 400)
        self.assertLessEqual({row["verdict"] for row in rows["verdicts"]}, {"honour", "silent", "warn", "refuse"})
        text = self.hull("validate", "--table").out.splitlines()
        self.assertEqual(len(text), len(rows["verdicts"]) + len(rows["values"]))
        made = subprocess.run([ROOT / "tools/dev/domain-table", "--check", HULL], capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)


def places(element, path=""):
    """(path, element, attribute or None for the text) of everything in a document that has a value."""
    path = f"{path}/{element.tag}"
    if "{" in element.tag or path == "/domain/metadata":
        return
    for attribute in element.attrib:
        if "{" not in attribute:
            yield f"{path}/@{attribute}", element, attribute
    if len(element) == 0 and (element.text or "").strip():
        yield path, element, None
    for child in element:
        yield from places(child, path)


def mutations(documents, directory):
    """(path, file) for each path once: the document with its value replaced, as a file for either judge."""
    seen = set()
    for document in documents:
        try:
            root = ElementTree.parse(document).getroot()
        except ElementTree.ParseError:
            continue
        for path, element, attribute in list(places(root)):
            kind = element.get("type") or element.get("mode")
            if path == "/domain/@type" or FREE.search(path) or (path, kind) in seen:
                continue
            seen.add((path, kind))
            value = element.get(attribute) if attribute else element.text
            if attribute:
                element.set(attribute, NONSENSE)
            else:
                element.text = NONSENSE
            file = directory / f"{len(seen)}.xml"
            ElementTree.ElementTree(root).write(file)
            yield path, document, file
            if attribute:
                element.set(attribute, value)
            else:
                element.text = value


def libvirt_takes(files):
    """Those of the files that libvirt's parser takes; its test driver needs no daemon."""
    refused, current = set(), None
    for i, file in enumerate(files):
        text = pathlib.Path(file).read_text(encoding="utf-8")
        text = re.sub(r"<domain([^>]*) type=([\"'])[^\"']*\2", r"<domain\1 type='test'", text, count=1)
        # Each is a domain of its own: libvirt refuses a second one of a name.
        text = re.sub(r"<uuid>[0-9a-fA-F-]{32,36}</uuid>", "", re.sub(r"<name>[^<]*</name>", f"<name>n{i}</name>", text, count=1))
        pathlib.Path(f"{file}.test").write_text(text)
    commands = "".join(f"define {file}.test\n" for file in files)
    result = subprocess.run("exec virsh -q -c test:///default 2>&1", shell=True, input=commands, capture_output=True, text=True, errors="replace")
    for line in result.stdout.splitlines():
        named = re.match(r"virsh # define (\S+)\.test$", line.strip())
        if named:
            current = named.group(1)
        elif line.startswith("error:") and current:
            refused.add(current)
    return {str(file) for file in files} - refused


def compare(documents, directory):
    """(paths whose nonsense libvirt refuses, those of them of which hull says nothing)."""
    # Only documents that libvirt takes as they are say something about a value.
    copies = {}
    for i, document in enumerate(documents):
        copies[str(shutil.copy(document, directory / f"document{i}.xml"))] = document
    taken = [pathlib.Path(copy) for copy in sorted(libvirt_takes(list(copies)))]
    changed = list(mutations(taken, directory))
    accepted = libvirt_takes([file for _, _, file in changed])
    refused = [(path, file) for path, _, file in changed if str(file) not in accepted]
    out = subprocess.run([HULL, "validate", "--json", *(str(file) for _, file in refused)], capture_output=True, text=True).stdout
    missed = set()
    for (path, file), judged in zip(refused, json.loads(out)["documents"]):
        name = path.rsplit("/", 1)[1]
        said = [f for f in judged["findings"] if f["verdict"] == "refuse"]
        about = [f for f in said if NONSENSE in f["xpath"] + f["message"] or re.search(rf"/{re.escape(name)}(\[\d+\])?$", f["xpath"])]
        if not about and not judged.get("error"):
            missed.add(path)
    return {path for path, _ in refused}, missed


class Values(HullTest):
    def test_what_libvirt_refuses_is_refused(self):
        refused, missed = compare(sorted(DOCUMENTS.glob("*.xml")), self.directory)
        self.assertGreater(len(refused), 300, "the documents have become too few to say anything")
        self.assertEqual(missed, set())


if __name__ == "__main__":
    if len(sys.argv) > 1 and pathlib.Path(sys.argv[1]).is_dir():  # by hand: validate_test.py DIRECTORY of any documents
        import tempfile
        with tempfile.TemporaryDirectory() as scratch:
            refused_paths, missed_paths = compare(sorted(pathlib.Path(sys.argv[1]).rglob("*.xml")), pathlib.Path(scratch))
        print(f"libvirt refuses nonsense at {len(refused_paths)} paths; hull misses {len(missed_paths)}:", *sorted(missed_paths), sep="\n")
    else:
        unittest.main()
