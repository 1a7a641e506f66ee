"""Docstrings in Markdown for the reference: roles such as ``:class:`Term``` become links."""

import re
from typing import Any

from griffe import Extension, GriffeError, Module, Object

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(~?)([\w.]+)`")


def path_of(name: str, scope: Object) -> str:
    """Returns the path of a name as Python, or a reader, finds it where its docstring is.

    Args:
        name: a name in a role: the whole path, a member of the class, or a global of the module.
        scope: the object whose docstring has the role.

    Returns:
        The path of the object's definition, or the name itself if there is no such object.
    """
    holder = scope if scope.is_class else scope.parent
    if holder is not None and holder.is_class and name in holder.all_members:
        return holder.all_members[name].canonical_path
    first, _, rest = name.partition(".")
    try:
        found = scope.resolve(first)
        return scope.modules_collection[
            f"{found}.{rest}" if rest else found
        ].canonical_path
    except (GriffeError, KeyError):
        return name


class Roles(Extension):
    """Replaces every role by a reference, which is a link if a page documents the object."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Does so in all docstrings of a package, now that all of it is known."""
        if pkg.name == "ntk_keras":
            self.replace_in(pkg)

    def replace_in(self, scope: Object) -> None:
        """Replaces the roles of an object's docstring, and of those of its members."""

        def replace(match: re.Match[str]) -> str:
            short, name = match.groups()
            shown = name.rpartition(".")[2] if short else name
            path = path_of(name, scope)
            return f'<autoref optional identifier="{path}"><code>{shown}</code></autoref>'

        if scope.docstring:
            text = ROLE.sub(replace, scope.docstring.value)
            # An indented block is code in Markdown too, and no colon introduces it.
            scope.docstring.value = re.sub(
                r"\bExample::$", "**Example**", text, flags=re.MULTILINE
            )
        for member in scope.members.values():
            if not member.is_alias:
                self.replace_in(member)
