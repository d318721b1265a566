"""Plug-ins: what an installed package of somebody else adds to a registry, by an entry point.

Code from outside runs only where somebody who answers for the data said so. A process knows no
plug-in until it calls :func:`allow_installed` (the study centre's and the researcher's programs)
or :func:`allow` (a hospital's, with the packages that ``[policy] plugins`` of its ``site.toml``
names together with their versions). To know one is to know its name: it is imported when used.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, final

from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUPS = (
    "infomri.tasks",
    "infomri.samplers",
    "infomri.suppressions",
    "infomri.attacks",
    "infomri.formats",
)


@final
class _Allowed:
    """Which packages this process may use: all that are installed, or those named."""

    everything = False
    packages: frozenset[str] = frozenset()


@final
class Registry(MutableMapping[str, str]):
    """Where the members of a registry are, as ``module:attribute`` by name: the platform's
    ``own``, then the plug-ins of ``group`` that this process may use, which replace no own one."""

    def __init__(self, group: str, own: Mapping[str, str]) -> None:
        assert group in GROUPS
        self._group, self._own = group, dict(own)

    def __getitem__(self, name: str) -> str:
        return self._own[name] if name in self._own else self._plugins()[name]

    def __setitem__(self, name: str, place: str) -> None:
        self._own[name] = place

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from (name for name in self._plugins() if name not in self._own)

    def __len__(self) -> int:
        return len({**self._own, **self._plugins()})

    def load(self, name: str) -> Any:
        """The member of that ``name``, imported; ``KeyError`` for an unknown one."""
        module, _, attribute = self[name].partition(":")
        return getattr(import_module(module), attribute)

    def hint(self, name: str) -> str:
        """Where ``name`` is that of an installed plug-in which this process may not use: what to
        do; else ''."""
        for point in _installed():
            if (point.group, point.name) == (self._group, name):
                return f"a plug-in has it: [policy] plugins of site.toml lacks {_package(point)}"
        return ""

    def _plugins(self) -> dict[str, str]:
        if not _Allowed.everything and not _Allowed.packages:
            return {}
        return {
            point.name: point.value
            for point in _installed()
            if point.group == self._group
            and (_Allowed.everything or _package(point) in _Allowed.packages)
        }


def allow_installed() -> None:
    """Let this process use every plug-in that is installed. Never where a hospital's data are."""
    _Allowed.everything = True


def allow(packages: tuple[str, ...], where: str) -> None:
    """Let this process use the plug-ins of ``packages``, each ``NAME==VERSION``, and no other.

    Raises ``InputError`` where one is not installed in just that version, or is no plug-in.
    Nothing is imported.
    """
    for package in packages:
        if package not in installed_packages():
            got = f"{package!r}; plug-ins here: {', '.join(installed_packages()) or 'none'}"
            remedy = "install that version, or name the one that you have looked at"
            raise InputError(where, "NAME==VERSION of an installed plug-in", got, remedy)
    _Allowed.everything, _Allowed.packages = False, frozenset(packages)


def installed_packages() -> list[str]:
    """``NAME==VERSION`` of every installed package that has plug-ins."""
    return sorted({_package(point) for point in _installed()})


@cache
def _installed() -> "tuple[EntryPoint, ...]":
    from importlib.metadata import entry_points

    return tuple(point for group in GROUPS for point in entry_points(group=group))


def _package(point: "EntryPoint") -> str:
    return f"{point.dist.name}=={point.dist.version}" if point.dist is not None else ""
