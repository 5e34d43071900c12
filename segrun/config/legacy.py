"""Configs that older versions of segrun recorded: old names become the present ones."""

from __future__ import annotations

RENAMED_GROUPS = {"term": "regularizer"}
