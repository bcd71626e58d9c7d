"""What --help lists, completion offers and the manual explains: all three say the same."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import unittest

from support import MIB, OK, ROOT, USAGE, HullTest

# Every program explains itself; these need no line of their own.
UNSPOKEN = {"-h", "--help"}


def manual(name):
    """A manual page as text: no macros, no fonts, plain hyphens."""
    page = (ROOT / "docs/man" / name).read_text(encoding="utf-8")
    page = re.sub(r"\\f(?:\[\w*\]|.)", "", page.replace(r"\-", "-"))
    # Words that alternate between fonts (.BR a b) are one.
    joined = [re.sub(r'^\.[BIR]{2} +', "", line).replace('"', "") if re.match(r"\.[BIR]{2} ", line) else line for line in page.splitlines()]
    return "\n".join(joined)


def mentions(text, option):
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


class Help(HullTest):
    def options(self, *command):
        """Every spelling of every option that --help lists."""
        result = self.hull(*command, "--help")
        self.assertEqual(result.code, OK, result)
        found = set()
        self.assertLessEqual(max(map(len, result.out.splitlines())), 100, result)
        for line in re.findall(r"^  (-\S+)", result.out, re.MULTILINE):
            found.update(word for word in line.split(",") if word.startswith("-"))
        self.assertGreater(len(found), 1, result)
        return found - UNSPOKEN

    def completions(self, *words):
        result = self.hull("complete", "--", *words)
        self.assertEqual(result.code, OK, result)
        return set(result.out.splitlines())

    def image_verbs(self):
        verbs = re.findall(r"^  (\w+) ", self.hull("img", "--help").out, re.MULTILINE)
        self.assertGreater(len(verbs), 10)
        return verbs

    def test_image_verbs(self):
        page = manual("hull-img.1")
        common = re.search(r"^\.SH COMMON OPTIONS$(.*?)^\.SH ", page, re.MULTILINE | re.DOTALL).group(1)
        self.assertEqual(self.completions("img", ""), {"help", *self.image_verbs()})
        for verb in self.image_verbs():
            with self.subTest(verb=verb):
                options = self.options("img", verb)
                self.assertEqual(self.completions("img", verb, "-") - UNSPOKEN, options)
                first = {"if=", "of=", "bs=", "count=", "skip="} if verb == "dd" else set() if verb == "measure" else {"@files 0"}
                self.assertLessEqual(first, self.completions("img", verb, ""), "a file is to be completed")
                section = re.search(rf"^\.SS {verb} (.*?)^\.S[HS] ", page, re.MULTILINE | re.DOTALL)
                self.assertIsNotNone(section, "hull-img(1) has no section")
                missing = {o for o in options if not mentions(section.group(1) + common, o)}
                self.assertEqual(missing, set(), "not in hull-img(1)")

    def test_other_verbs(self):
        for verb in ("run", "validate", "nbd", "doctor", "pack"):
            with self.subTest(verb=verb):
                options, page = self.options(verb), manual(f"hull-{verb}.1")
                self.assertEqual({o for o in options if not mentions(page, o)}, set(), f"not in hull-{verb}(1)")
                long = {o for o in options if o.startswith("--")}
                self.assertEqual(long - self.completions(verb, "--"), set(), "not completed")

    def test_every_verb_is_completed(self):
        result = self.hull("--help")
        verbs = set(re.findall(r"^  (\w+) ", result.out, re.MULTILINE))
        self.assertLessEqual({"run", "validate", "img", "nbd", "doctor"}, verbs, result)
        self.assertLessEqual(verbs - {"complete"}, self.completions(""))

    def test_help_of_a_verb_is_that_of_the_verb(self):
        for verb in ("run", "doctor", "nbd", "img"):
            with self.subTest(verb=verb):
                self.assertEqual(self.hull("help", verb).out, self.hull(verb, "--help").out)
        for words in (["help", "img", "create"], ["img", "help", "create"]):
            self.assertEqual(self.hull(*words).out, self.hull("img", "create", "--help").out)
        self.expect_error(self.hull("help", "rnu"), USAGE, "did you mean 'run'?")
        self.assertEqual(self.hull("img", "help", "creat").code, 1)

    def test_version_names_the_commit(self):
        for words in (["--version"], ["img", "--version"]):
            self.assertRegex(self.hull(*words).out, r"\d+\.\d+\.\d+ \([0-9a-f]{10}\)\n$")


class Progress(HullTest):
    def test_bar_is_as_wide_as_the_terminal(self):
        source = self.raw(size=8 * MIB, data=b"x" * (8 * MIB))
        for columns in (30, 200):
            with self.subTest(columns=columns):
                outer, inner = pty.openpty()
                fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
                command = self.command("img", "convert", "-p", "-O", "qcow2", source.path, self.directory / "copy.qcow2")
                process = subprocess.Popen(command, stdout=inner, stdin=subprocess.DEVNULL)
                os.close(inner)
                seen = b""
                try:
                    while data := os.read(outer, 65536):
                        seen += data
                except OSError:  # the other end has been closed
                    pass
                os.close(outer)
                self.assertEqual(process.wait(), OK)
                steps = [step for step in re.split(r"[\r\n]+", seen.decode()) if step]
                self.assertTrue(steps[-1].endswith(" 100.0%"), steps)
                self.assertEqual({len(step) for step in steps}, {columns - 1})


if __name__ == "__main__":
    unittest.main()
