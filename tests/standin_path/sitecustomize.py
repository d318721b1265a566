"""Puts the stand-in study in place of the real one in a ServerApp's process."""

import sys
import types

from tests import standin

module = types.ModuleType("fl_server.study")
module.run_study = standin.run_study  # type: ignore[attr-defined]
sys.modules["fl_server.study"] = module
