"""Builds libtickstore with CMake from the checkout around this folder and bundles it into the wheel."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HEADER = ROOT / "libtickstore" / "include" / "tickstore" / "tickstore.h"


def version() -> str:
    if not HEADER.exists():
        raise SystemExit(
            f"{HEADER} is not there: this package is built from a checkout of libtickstore, "
            "with pip install ./bindings/python"
        )
    numbers = dict(re.findall(r"^#define TKS_VERSION_(MAJOR|MINOR|PATCH) (\d+)$", HEADER.read_text(), re.MULTILINE))
    return "{MAJOR}.{MINOR}.{PATCH}".format(**numbers)


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        if getattr(self, "editable_mode", False):
            return  # a checkout that is worked on finds its library by TICKSTORE_LIBRARY
        build = Path(self.get_finalized_command("build").build_temp).resolve() / "libtickstore"
        for tool in ("cmake", "pkg-config"):
            if shutil.which(tool) is None:
                raise SystemExit(f"{tool} is needed to build libtickstore; scripts/setup installs what is missing")
        off = [f"-DTICKSTORE_{part}=OFF" for part in ("TOOLS", "TESTS", "EXTRAS", "WERROR")]
        subprocess.run(
            ["cmake", "-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=RelWithDebInfo", *off], check=True
        )
        jobs = str(os.cpu_count() or 1)
        subprocess.run(["cmake", "--build", str(build), "--target", "tickstore", "--parallel", jobs], check=True)
        native = Path(self.build_lib) / "tickstore" / "_native"
        native.mkdir(parents=True, exist_ok=True)
        library = (build / "libtickstore.so").resolve()
        target = native / ("libtickstore.so." + version().split(".")[0])
        shutil.copy2(library, target)
        if shutil.which("strip"):
            subprocess.run(["strip", "--strip-unneeded", str(target)], check=True)


class PlatformWheel(bdist_wheel):
    """Any Python 3, one platform: the library is loaded, not linked."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> "tuple[str, str, str]":
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(
    version=version(),
    distclass=BinaryDistribution,
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
)
