"""Those who have the kernel lead service addresses: by nftables, and by iptables where there is no `nft`.

What the kernel holds outlives the agent, and is taken over by the next one: connections, and which client stays with
which pod, are as they were.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol

from edgecore.network.balancing import Front
from edgecore.network.iptables import JUMPS, Tables, chains_in, changed_text, restore_text, tables_of
from edgecore.network.nftables import Made, Rules, rules_of, rules_there, transaction
from edgecore.network.programs import WHOLE_S, found, run
from skerry.errors import UnavailableError
from skerry.objects.members import Family, family_of

LOG: Final = logging.getLogger(__name__)

TABLE: Final = "skerry-services"
FAMILIES: Final[tuple[Family, ...]] = ("IPv4", "IPv6")


class Carrier(Protocol):
    """Leads what comes for services to where it should go."""

    @property
    def name(self) -> str: ...

    @property
    def in_kernel(self) -> bool:
        """Whether the kernel remembers flows that may have to be forgotten."""
        ...

    async def check(self) -> None:
        """Raises `UnavailableError` where it can't work, with what is missing."""
        ...

    async def carry(self, fronts: Sequence[Front], own_pods: Sequence[str]) -> None:
        """From now on these. Raises `UnavailableError`; then, as far as it can be helped, all is as it was."""
        ...

    async def intact(self) -> bool:
        """Whether what was carried is still there; where not, the next `carry` makes all of it anew."""
        ...

    async def clear(self) -> None:
        """Take everything back, whoever made it. What is not there is no failure."""
        ...

    async def close(self) -> None:
        """The agent ends: what can go on goes on."""
        ...


class NftablesCarrier:
    """By one table a family."""

    name: str = "nftables"
    in_kernel: bool = True

    def __init__(self, table: str = TABLE) -> None:
        self._table = table
        self._rules: dict[Family, Rules | None] = {}
        self._made: dict[Family, dict[Front, Made]] = {family: {} for family in FAMILIES}

    async def check(self) -> None:
        await run("nft", "list", "tables")

    async def carry(self, fronts: Sequence[Front], own_pods: Sequence[str]) -> None:
        for family in FAMILIES:
            if family not in self._rules:
                self._rules[family] = await self._there(family)
            before = self._rules[family]
            wanted = rules_of(
                fronts, [each for each in own_pods if family_of(each) == family], family, self._made[family]
            )
            if wanted == before:
                continue
            # Who knows what is there when it fails: then the next time all of it is made anew.
            self._rules[family] = None
            if text := transaction(self._table, wanted, before):
                await run("nft", "-f", "-", text=text, within_s=WHOLE_S)
            self._rules[family] = wanted

    async def _there(self, family: Family) -> Rules | None:
        """What an agent before this one left."""
        try:
            return rules_there(await run("nft", "-j", "list", "table", _word(family), self._table), family)
        except UnavailableError:
            return None

    async def intact(self) -> bool:
        for family, rules in self._rules.items():
            if rules is None:
                continue
            try:
                led = await run("nft", "list", "chain", _word(family), self._table, "services")
            except UnavailableError:
                led = ""
            if "@addresses" not in led:
                self._rules[family] = None
                return False
        return True

    async def clear(self) -> None:
        for family in FAMILIES:
            try:
                await run("nft", "delete", "table", _word(family), self._table)
            except UnavailableError:
                continue
        self._rules.clear()

    async def close(self) -> None:
        """The rules stay."""


def _word(family: Family) -> str:
    return "ip" if family == "IPv4" else "ip6"


class IptablesCarrier:
    """By chains of our own, through `iptables` or, where that does not work, `iptables-legacy`."""

    name: str = "iptables"
    in_kernel: bool = True

    def __init__(self) -> None:
        self._ending = ""
        self._written: dict[Family, Tables] = {}

    async def check(self) -> None:
        failure: UnavailableError | None = None
        for self._ending in ("", "-legacy"):
            try:
                await run(f"iptables{self._ending}", "-w", "-t", "nat", "-S", "OUTPUT")
            except UnavailableError as error:
                failure = failure or error
            else:
                return
        self._ending = ""
        raise failure or UnavailableError("iptables: failed")

    def _program(self, family: Family, part: str = "") -> str:
        """`iptables-restore`, `ip6tables-legacy-save` ..."""
        return f"{'iptables' if family == 'IPv4' else 'ip6tables'}{self._ending}{part}"

    async def carry(self, fronts: Sequence[Front], own_pods: Sequence[str]) -> None:
        for family in FAMILIES:
            wanted = tables_of(fronts, [each for each in own_pods if family_of(each) == family], family)
            here = family == "IPv4" or any(each.family == family for each in fronts)
            if wanted == self._written.get(family) or not (here or family in self._written):
                continue
            # Who knows what is there when it fails: then the next time all of it is made anew.
            before = self._written.pop(family, None)
            if before is None or not await self._is_led_to(family):
                await self._begin(family, wanted)
            else:
                for table, chains, old in (("nat", wanted.nat, before.nat), ("filter", wanted.filter, before.filter)):
                    if text := changed_text(table, chains, old):
                        await run(self._program(family, "-restore"), "--noflush", "-w", text=text)
            self._written[family] = wanted

    async def _begin(self, family: Family, wanted: Tables) -> None:
        """Over what an agent before this one left."""
        for table, chains in (("nat", wanted.nat), ("filter", wanted.filter)):
            there = chains_in(await run(self._program(family, "-save"), "-t", table))
            text = restore_text(table, chains, there)
            await run(self._program(family, "-restore"), "--noflush", "-w", text=text, within_s=WHOLE_S)
        for table, chain, to in JUMPS:
            await self._jump(family, table, chain, to)

    async def _is_led_to(self, family: Family) -> bool:
        """Whether what comes by still reaches our chains: somebody who flushes a table empties them as well."""
        for table, chain, to in JUMPS:
            try:
                await run(self._program(family), "-w", "-t", table, "-C", chain, "-j", to)
            except UnavailableError:
                return False
        return True

    async def intact(self) -> bool:
        for family in [*self._written]:
            if not await self._is_led_to(family):
                del self._written[family]
                return False
        return True

    async def _jump(self, family: Family, table: str, chain: str, to: str) -> None:
        words = ("-w", "-t", table)
        try:
            await run(self._program(family), *words, "-C", chain, "-j", to)
        except UnavailableError:
            await run(self._program(family), *words, "-I", chain, "-j", to)

    async def clear(self) -> None:
        for ending in ("", "-legacy"):
            self._ending = ending
            for family in FAMILIES:
                if found(self._program(family)) is not None:
                    await self._clear(family)
        self._written.clear()

    async def _clear(self, family: Family) -> None:
        for table in ("nat", "filter"):
            try:
                saved = await run(self._program(family, "-save"), "-t", table)
                there = chains_in(saved)
                if not there:
                    continue
                for _, chain, to in (each for each in JUMPS if each[0] == table):
                    if f"-A {chain} -j {to}" in saved:
                        await run(self._program(family), "-w", "-t", table, "-D", chain, "-j", to)
                await run(self._program(family, "-restore"), "--noflush", "-w", text=restore_text(table, (), there))
            except UnavailableError as error:
                LOG.warning("rules of iptables stay reason=%r", str(error))

    async def close(self) -> None:
        """The rules stay."""
