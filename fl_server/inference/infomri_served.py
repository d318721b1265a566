"""What MLflow imports first of a registered arm: it puts the code that is stored with the model on
the path. :mod:`fl_server.inference.model_code` copies this file into the model's folder, where
nothing of the project need be installed.
"""

import sys
from pathlib import Path
from typing import Any

CODE = Path(__file__).with_name("infomri_code.zip")


def _load_pyfunc(data_path: str) -> Any:
    """MLflow's entry point: the arm whose checkpoint lies in ``data_path``."""
    if CODE.is_file() and str(CODE) not in sys.path:
        sys.path.insert(0, str(CODE))
    from fl_server.inference.mlflow_model import Diagnoser
    from fl_server.inference.trained_arm import open_arm
    from infomri_core.inference.inference import ArmQuery
    from infomri_core.plugins.registry import allow_installed

    allow_installed()
    return Diagnoser(open_arm(Path(data_path), ArmQuery()))
