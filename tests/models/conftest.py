from pathlib import Path

import pytest


@pytest.fixture
def reference_dir() -> Path:
    path = Path("/work/shared/reference")
    if not path.exists():
        pytest.skip("the reference values are not here")
    return path
