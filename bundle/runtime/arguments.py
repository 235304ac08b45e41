"""Refuse keys that no config has, such as misspelt ones, which MONAI accepts silently.

Paths are taken as they were typed (`bundle.runtime.typed`): python-fire reads ``--weights 1001`` as a number.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from bundle.runtime.components import arguments_of
from bundle.runtime.resolver import calling_config, calling_resolver
from bundle.runtime.typed import typed_path
from bundle.runtime.unused import known_keys, unused
from bundle.runtime.words import RUNS, in_args_file, monai_arguments, options_of
from monai.bundle import ConfigParser

COMMAND = "monai/bundle/__main__.py"
#: Keys that are paths, also within a block, unless the config has a block there.
PATHS = {
    *("bundle_root", "dataset_dir", "output_dir", "label_dir", "tuning_dir", "source", "target", "result", "truth"),
    *("weights", "patch_weights", "finetune", "cross_fitting", "patients", "overlay", "plan_file", "catalogue"),
}
#: How similar the name of an unused key is to that of which it is a misspelling.
LIKE = 0.8
#: Those that may be lists of paths.
LISTS = {"dataset_dir", "cross_fitting"}


def check_arguments(arguments: Sequence[str] | None = None) -> None:
    """Refuse options of ``python -m monai.bundle run`` that neither MONAI nor the config files define.

    Those of an ``args_file`` are checked, too. So are the top-level keys of overlays, and those that are given in
    Python: one that nothing uses (`bundle.runtime.unused`) is refused if its name is like one of ours.

    Keys inside a block are checked as far as the configs define them: ``network_def#blocks`` is refused. A component (a
    block with a ``_target_``) may also be given arguments that it takes, and any if that is not known. What an option
    or the file puts in a block's place, or as its ``_target_``, counts as the config's. Comments, which begin with
    ``_``, are no keys.

    An overlay is refused as the first config file, as the next one would replace what it sets.

    ``None`` is refused as a value, because MONAI drops it and the config's own value would be used without a word; so
    is ``null``, which would be a text. Null on the command line is ``'$None'``.

    In a config that is being resolved, the paths among the options become what was typed.

    Args:
        arguments: the arguments of the process, program first; null for those of this process. Arguments of other
            programs are not checked.

    Raises:
        ValueError: If a key is unknown, a value is None or null and the config's own is another, or an overlay comes
            first.
    """
    program, *given = sys.argv if arguments is None else arguments
    if not program.replace("\\", "/").endswith(COMMAND) or not given or given[0] not in RUNS:
        _check_used(calling_config() or {})
        return
    options, own = options_of(given[1:]), monai_arguments()
    told = in_args_file(options["args_file"]) if "args_file" in options else {}
    files = _value(options["config_file"]) if "config_file" in options else told.get("config_file")
    if files is None:
        return
    _check_order(files)
    config = ConfigParser.load_config_files(files)
    _check_used(config, [*options.values(), *told.values()])
    for option, value in [*told.items(), *options.items()]:
        _replace(option, value, config)
    for option in told:
        if option not in own and not option.startswith("_"):
            _check(option.removeprefix("+"), config)  # MONAI merges +block into that of the config
    for option in options:
        if option not in own:
            _check(option, config)
            _check_null(option, options[option], config)
        if _is_path(option, config) and options[option] != "$None":
            _check_path(option, options[option], config)
            _take_as_typed(option, config)


def check_keys(keys: Iterable[str], config_file: str | Sequence[str]) -> None:
    """Refuse keys that the config files do not define, and misspelt ones in overlays, see `check_arguments`.

    Args:
        keys: keys such as ``tile_size`` or ``kernel_choice#catalogue``.
        config_file: one path or several.

    Raises:
        ValueError: If a key is unknown.
    """
    config = ConfigParser.load_config_files(config_file)
    _check_used(config)
    for key in keys:
        _check(key, config)


def _is_path(option: str, config: Mapping[str, Any]) -> bool:
    """Return whether an option is a path."""
    names = _names(option)
    return names[-1] in PATHS and not isinstance(config.get(names[0]) if len(names) == 1 else None, Mapping)


def _names(option: str) -> list[str]:
    """Return the names of a key and of the blocks that it is in."""
    return option.replace("::", "#").split("#")


def _replace(option: str, value: Any, config: dict[str, Any]) -> None:
    """Replace, in the config, a block by a block, or what a block builds; ``+block`` adds to it.

    Args:
        option: the key.
        value: the value, or the word that was typed.
        config: the config, which is changed.
    """
    from fire.parser import DefaultParseValue

    *places, last = _names(option.removeprefix("+"))
    block: Any = config
    for part in places:
        block = block.get(part) if isinstance(block, Mapping) else None
    if not isinstance(block, dict) or last not in block:
        return
    if last == "_target_":
        block[last] = value
        return
    value = DefaultParseValue(value) if isinstance(value, str) else value
    if isinstance(value, Mapping) and isinstance(block[last], Mapping):
        block[last] = {**block[last], **value} if option.startswith("+") else dict(value)


def _take_as_typed(option: str, config: Mapping[str, Any]) -> None:
    """Let a path that is not null, in the config that is being resolved, be what was typed.

    A config that a run of another one resolves, as an evaluation does that of inference, has values of its own.
    """
    resolver, names = calling_resolver(), _names(option)
    if not config.keys() <= (calling_config() or {}).keys():
        return
    item = resolver.get_item("::".join(names)) if resolver else None
    given = item.get_config() if item else None
    if resolver and item and given not in (None, []) and str(given)[:1] not in ("$", "@"):
        resolver.resolved_content[item.get_id()] = typed_path(option, given, several=names[-1] in LISTS)


def _check_path(option: str, path: str, config: Mapping[str, Any]) -> None:
    """Refuse a path that a config would mistake for a reference to a key or for an expression."""
    reference = re.match(r"@(?:#|::)*(\w*)", path)
    if (reference and reference[1] not in config) or re.fullmatch(r"\$[^@'\"(\[]*", path):
        raise ValueError(
            f"--{option} {path!r} begins with {path[0]!r}, by which a config names its own keys or expressions; write "
            f"it with its folder, such as './{path}'."
        )


def _check_null(option: str, value: str, config: Mapping[str, Any]) -> None:
    """Refuse None, unless the config has it anyway, and null."""
    block: Any = config
    for part in _names(option):
        block = block.get(part, ...) if isinstance(block, Mapping) else ...
    if value == "null" or (value == "None" and block is not None):
        raise ValueError(f"--{option} {value} would not mean null; write --{option} '$None'.")


def _check_order(files: Any) -> None:
    """Refuse an overlay as the first of several config files: a whole config, which follows it, would replace its keys.

    A whole config is known by its ``bundle_root``.
    """
    paths = [str(path) for path in (files if isinstance(files, (list, tuple)) else [files])]
    first, *whole = (path for path in paths if path == paths[0] or "bundle_root" in ConfigParser.load_config_file(path))
    if whole and "bundle_root" not in ConfigParser.load_config_file(first):
        raise ValueError(
            f"config_file {first!r} is an overlay, and {whole[0]!r}, which follows it, would replace what it sets; "
            f"give it last: --config_file \"['{whole[0]}','{first}']\"."
        )


def _value(text: str) -> Any:
    """Return one path or a list of paths, parsed from text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text.split(",") if "," in text else text


def _check_used(config: Mapping[str, Any], options: Iterable[Any] = ()) -> None:
    """Refuse a top-level key that nothing uses, and whose name is like one of ours in the same config."""
    for key in unused(config, options):
        near = get_close_matches(key, sorted(known_keys() & config.keys()), 1, LIKE)
        if near and config.get(near[0]) != config[key]:  # or it may be a copy of this one by a macro, %
            raise ValueError(
                f"key {key!r} of the config is unknown, and nothing refers to it; did you mean {near[0]}? (The name of "
                "a comment begins with _.)"
            )


def _check(option: str, config: Mapping[str, Any]) -> None:
    block: Any = config
    parts = _names(option)
    if parts[0] == ConfigParser.meta_key:
        return
    for depth, part in enumerate(parts):
        if not isinstance(block, Mapping):
            return
        if part not in block:
            taken = arguments_of(block["_target_"]) if depth == len(parts) - 1 and "_target_" in block else set()
            if taken is None or part in taken:
                return
            before = "".join(f"{name}#" for name in parts[:depth])
            near = get_close_matches(part, sorted({*block, *taken}), 1, 0.5)
            advice = f"did you mean --{before}{near[0]}?" if near else "the README and docs/ have a table of keys."
            raise ValueError(f"key --{option} is unknown, {before + part!r} is not in the config files; {advice}")
        block = block[part]
