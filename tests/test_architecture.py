"""The import contracts of pyproject.toml: what each layer may know."""

from importlinter.cli import lint_imports


def test_every_module_knows_only_what_its_layer_may():
    assert lint_imports(no_cache=True) == 0
