"""Puts the task files inside the wheel; an editable install reads them where they are, so edits show at once."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TaskFiles(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"]["tasks"] = "l2m_eval/_tasks"
