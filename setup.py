"""What pyproject.toml cannot say: a wheel also holds the files that lie beside the package in a checkout. The package
finds them in both places (emsa_jax/shipped.py)."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = (*sorted(ROOT.glob("configs/*.py")), ROOT / "requirements.txt")


class BuildWithShipped(build_py):
    """Copies the shipped files into the package of a wheel; an editable install leaves them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for path, copy in self._copies().items():
                self.mkpath(str(Path(copy).parent))
                self.copy_file(str(path), copy)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else self._copies().values())]

    def _copies(self) -> dict[Path, str]:
        return {path: str(Path(self.build_lib, "emsa_jax", path.relative_to(ROOT))) for path in SHIPPED}


setup(cmdclass={"build_py": BuildWithShipped})
