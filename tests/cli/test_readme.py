"""What README shows is what works: its programs are those that the tests run, and its C program runs here."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ.get("TICKSTORE_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("TICKSTORE_BUILD_DIR", SOURCE / "build"))


def block(path, language):
    match = re.search(rf"```{language}\n(.*?)```", (SOURCE / path).read_text(encoding="utf-8"), re.DOTALL)
    assert match, f"{path} has no {language} block"
    return match.group(1)


class ReadmeTest(unittest.TestCase):
    def test_the_programs_are_those_that_the_bindings_tests_run(self):
        self.assertEqual(block("README.md", "go"), block("docs/go.md", "go"))
        self.assertEqual(block("README.md", "python"), block("docs/python.md", "python"))

    def test_the_c_program_is_the_example(self):
        example = (SOURCE / "examples/quickstart.c").read_text(encoding="utf-8")
        self.assertEqual(block("README.md", "c"), re.sub(r"^/\*.*?\*/\n", "", example, count=1, flags=re.DOTALL))

    def test_the_c_program_runs(self):
        cache = (BUILD / "CMakeCache.txt").read_text(encoding="utf-8")
        if re.search(r"^TICKSTORE_SANITIZE:\w*=.+", cache, re.MULTILINE):
            self.skipTest("an instrumented library wants an instrumented program; the plain build runs this")
        compiler = shutil.which("cc") or shutil.which("gcc")
        with tempfile.TemporaryDirectory() as directory:
            program = pathlib.Path(directory) / "quickstart"
            source = pathlib.Path(directory) / "quickstart.c"
            source.write_text(block("README.md", "c"), encoding="utf-8")
            subprocess.run(
                [
                    compiler,
                    source,
                    f"-I{SOURCE}/libtickstore/include",
                    f"-L{BUILD}",
                    "-ltickstore",
                    f"-Wl,-rpath,{BUILD}",
                    "-o",
                    program,
                ],
                check=True,
            )
            done = subprocess.run([program], cwd=directory, capture_output=True, text=True, check=True)
            self.assertEqual(done.stdout, "1768900000000000000 1.08484 1.08499\n1768900000001500000 1.08491 1.08505\n")

    def test_every_link_leads_somewhere(self):
        for page in [*SOURCE.glob("*.md"), *SOURCE.glob("docs/*.md")]:
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
                self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")


if __name__ == "__main__":
    unittest.main()
