"""What --help lists, completion offers and the manual explains: all three say the same."""

import os
import pathlib
import re
import subprocess
import unittest

from support import HULL, OK, ROOT, HullTest

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
        for line in re.findall(r"^  (-\S+)", result.out, re.MULTILINE):
            found.update(word for word in line.split(",") if word.startswith("-"))
        self.assertGreater(len(found), 1, result)
        return found - UNSPOKEN

    def completions(self, *words):
        result = self.hull("complete", "--", *words)
        self.assertEqual(result.code, OK, result)
        return set(result.out.split())

    def image_verbs(self):
        verbs = re.findall(r"^  (\w+) ", self.hull("img", "--help").out, re.MULTILINE)
        self.assertGreater(len(verbs), 10)
        return verbs

    def test_image_verbs(self):
        page = manual("hull-img.1")
        common = re.search(r"^\.SH COMMON OPTIONS$(.*?)^\.SH ", page, re.MULTILINE | re.DOTALL).group(1)
        self.assertEqual(self.completions("img", ""), set(self.image_verbs()))
        for verb in self.image_verbs():
            with self.subTest(verb=verb):
                options = self.options("img", verb)
                self.assertEqual(self.completions("img", verb, "-") - UNSPOKEN, options)
                self.assertEqual(self.completions("img", verb, ""), set(), "a file is to be completed")
                section = re.search(rf"^\.SS {verb} (.*?)^\.S[HS] ", page, re.MULTILINE | re.DOTALL)
                self.assertIsNotNone(section, "hull-img(1) has no section")
                missing = {o for o in options if not mentions(section.group(1) + common, o)}
                self.assertEqual(missing, set(), "not in hull-img(1)")

    def test_other_verbs(self):
        for verb in ("run", "nbd"):
            with self.subTest(verb=verb):
                options, page = self.options(verb), manual(f"hull-{verb}.1")
                self.assertEqual({o for o in options if not mentions(page, o)}, set(), f"not in hull-{verb}(1)")
                long = {o for o in options if o.startswith("--")}
                self.assertEqual(long - self.completions(verb, "--"), set(), "not completed")

    def test_every_verb_is_completed(self):
        result = self.hull("--help")
        verbs = set(re.findall(r"^  (\w+) ", result.out, re.MULTILINE))
        self.assertLessEqual({"run", "img", "nbd", "doctor"}, verbs, result)
        self.assertLessEqual(verbs - {"complete"}, self.completions(""))

    def test_bash_completes_both_names(self):
        script = ('source "$1/tools/completion/hull.bash"; hull() { "$HULL" "$@"; }; shift; COMP_WORDS=("$@"); '
                  'COMP_CWORD=$(($# - 1)); compopt() { :; }; _hull; printf "%s\\n" "${COMPREPLY[@]}"')
        for words, expected in ((["hull", "img", "conv"], ["convert"]), (["/usr/bin/hull-img", "conv"], ["convert"]),
                                (["hull-img", "info", "--backing"], ["--backing-chain"]), (["hull", "doc"], ["doctor"])):
            with self.subTest(words=words):
                result = subprocess.run(["bash", "-c", script, "bash", str(ROOT), *words], capture_output=True, text=True,
                                        env={**os.environ, "HULL": HULL}, check=True)
                self.assertEqual(result.stdout.split(), expected, result.stderr)

    def test_shell_functions_ask_the_program(self):
        for shell in ("bash", "zsh", "fish"):
            text = pathlib.Path(ROOT / "tools/completion" / f"hull.{shell}").read_text(encoding="utf-8")
            self.assertIn("hull complete --", text)


if __name__ == "__main__":
    unittest.main()
