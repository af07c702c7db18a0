"""`peer ban --proof`: who is convicted by a file is banned, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from p2pcompute.cli.app import run
from p2pcompute.cli.bundle import write_bundle
from p2pcompute.cli.liar import LyingEngine
from p2pcompute.identity import names
from p2pcompute.identity.keys import KeyPair
from p2pcompute.protocol.equivocation import prove
from p2pcompute.wire import documents as d
from p2pcompute.wire.policy import sample
from tests.cli.command import Command
from tests.node.market import SAXPY, open_market
from tests.node.test_market import saxpy_arguments

FORKER, TELLER = KeyPair(bytes([1]) * 32), KeyPair(bytes([2]) * 32)
WALL_MS = 1_800_000_000_000


def write(body: object, *, key: KeyPair = FORKER, network: str = "main") -> d.AnyDocument:
    author = d.Author(network, key.public, bytes(8), key.sign)
    return author.write(WALL_MS, body, lifetime_ms=1_000)  # type: ignore[arg-type]


def receipt(n: int, price: int, *, network: str = "main", key: KeyPair = FORKER) -> d.AnyDocument:
    zero = bytes(32)
    body = d.Receipt(n, zero, zero, zero, zero, TELLER.public, (), "cpu", 1, 0, price)
    return write(body, key=key, network=network)


TWO = receipt(0, 1), receipt(0, 2)
BUNDLES: dict[str, list[d.AnyDocument]] = {
    "two receipts of one number": list(TWO),
    "a proof that ran out long ago": [write(prove(*TWO), key=TELLER)],
    "a proof among other things": [receipt(7, 5, key=TELLER), write(prove(*TWO), key=TELLER)],
}


@pytest.fixture
def home(command: Command, tmp_path: Path) -> Path:
    assert command("init", "--no-passphrase") == 0
    return tmp_path / "home"


def bans(command: Command) -> list[tuple[str, str]]:
    assert command("peer", "list", "--banned", "--json") == 0
    return [(row["operator"], row["reason"]) for row in command.last]


@pytest.mark.parametrize("name", BUNDLES)
def test_who_contradicts_itself_is_banned(command: Command, home: Path, name: str) -> None:
    write_bundle(Path("proof.p2p"), [x.raw for x in BUNDLES[name]])
    assert command("peer", "ban", "--proof", "proof.p2p", "--json") == 0, command.err
    did = names.did_key(FORKER.public)
    assert command.last == {"done": f"banned {did}, and the proof is on its way"}
    assert bans(command) == [(did, "forked its chain of receipts")]
    assert command("peer", "pardon", did) == 0
    assert bans(command) == []
    assert command("peer", "ban", "--proof", "proof.p2p") == 0
    assert [operator for operator, _ in bans(command)] == [did]


@pytest.mark.parametrize(
    "documents",
    [
        [receipt(0, 1)],
        [receipt(0, 1), receipt(2, 1)],
        [receipt(0, 1), receipt(0, 1, key=TELLER)],
        [receipt(0, 1, network="other"), receipt(0, 2, network="other")],
        [write(d.EquivocationProof(TWO[0].raw, TWO[0].raw), key=TELLER)],
        [write(d.EquivocationProof(b"junk", b"junk"), key=TELLER)],
    ],
    ids=["one", "a gap", "two keys", "another network", "one statement", "no statements"],
)
def test_evidence_that_convicts_nobody_bans_nobody(
    command: Command, home: Path, documents: list[d.AnyDocument]
) -> None:
    write_bundle(Path("proof.p2p"), [x.raw for x in documents])
    assert command("peer", "ban", "--proof", "proof.p2p") == 5
    assert "convicts nobody on network 'main'" in command.err
    assert bans(command) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--proof", "gone.p2p"), "gone.p2p cannot be read"),
        (("--proof", "junk.p2p"), "is no evidence file"),
        (("--proof", "fraud.p2p"), "fraud.p2p"),
        ((), "name an operator, or a file with --proof"),
        (("did:key:z6Mk", "--proof", "junk.p2p"), "name an operator, or a file with --proof"),
    ],
)
def test_what_is_no_proof_at_all_is_said_so(
    command: Command, home: Path, arguments: tuple[str, ...], text: str
) -> None:
    Path("junk.p2p").write_bytes(b"junk")
    Path("fraud.p2p").write_bytes(b"p2pcompute fraud proof 1\njunk")
    assert command("peer", "ban", *arguments) == 2
    assert text in command.err
    assert bans(command) == []


async def test_a_fraud_proof_is_executed_here_before_it_bans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_market(tmp_path, [LyingEngine, None], prices=[1, 500]) as (client, peers):
        arguments, _ = saxpy_arguments()
        with trio.fail_after(60):
            job = await client.submit(SAXPY, arguments=arguments, grid=40, block=256, policy=sample(40))
            await job.result()
        (proof,) = await job.frauds()
        liar = peers[0].core.post.env.me
    good, bad, home = tmp_path / "fraud-1.p2p", tmp_path / "bent.p2p", ("--home", str(tmp_path / "judge"))
    good.write_bytes(proof)
    bad.write_bytes(proof[:-9] + bytes([proof[-9] ^ 1]) + proof[-8:])

    def told(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = run([*arguments, *home])
        return code, capsys.readouterr().out

    def judge() -> None:
        assert told("init", "--no-passphrase")[0] == 0
        assert told("peer", "ban", "--proof", str(bad))[0] in (2, 5)
        assert told("peer", "list", "--banned", "--json") == (0, "[]\n")
        assert told("peer", "ban", "--proof", str(good))[0] == 0
        code, out = told("peer", "list", "--banned", "--json")
        assert code == 0
        assert names.did_key(liar) in out
        assert "a fraud proof: " in out

    await trio.to_thread.run_sync(judge)
