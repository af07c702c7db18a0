"""The published list of planted bugs: each one a slip that somebody could make."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from p2pcompute.protocol import matching, pricing, provider, requester, verification
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.candidates import Candidates
from p2pcompute.protocol.claims import Claims
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.desk import Desk
from p2pcompute.protocol.disputes import Disputes
from p2pcompute.protocol.equivocation import Witness
from p2pcompute.protocol.gossip.score.standing import Standing
from p2pcompute.protocol.hiring import Hiring
from p2pcompute.protocol.job import Job
from p2pcompute.protocol.jobs import Jobs
from p2pcompute.protocol.judging import Judging
from p2pcompute.protocol.ladder import Ladder
from p2pcompute.protocol.leasing import Leasing
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.reservation import Slots
from p2pcompute.protocol.settlement import Redeemer
from p2pcompute.protocol.settling import Settling
from p2pcompute.protocol.sync import Sync
from p2pcompute.wire import codec
from simnet.mutants.campaign import Mutant, Plant
from simnet.mutants.patch import Owner, planted, rewritten

Edit = tuple[Owner, str, str, str]
"""(class or module, function, text, what stands there instead)"""
P, R, D = provider.Provider, requester.Requester, Desk
H, J, S = Hiring, Judging, Settling


def _edits(*edits: Edit) -> Plant:
    @contextlib.contextmanager
    def plant() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for owner, name, old, new in edits:
                stack.enter_context(planted(owner, name, rewritten(owner, name, old, new)))
            yield

    return plant


def _mutant(name: str, sentence: str, trials: str, *edits: Edit) -> Mutant:
    return Mutant(name, sentence, _edits(*edits), tuple(one.strip() for one in trials.split(",")))


PLANTED: Final[tuple[Mutant, ...]] = (
    _mutant(
        "reservation not journaled",
        "A provider promises a slot that it would not know of after a crash.",
        "calm",
        (Leasing, "on_reservation_request", "[persist(record)], reservation", "[], reservation"),
    ),
    _mutant(
        "journal after the reply",
        "A provider answers first and writes down what it promised afterwards.",
        "calm",
        (
            P,
            "on_request",
            '[*before, Reply(request_id, answer.raw if answer is not None else b""), *after]',
            '[Reply(request_id, answer.raw if answer is not None else b""), *before, *after]',
        ),
    ),
    _mutant(
        "assignment taken but not journaled",
        "A provider acknowledges an assignment that it would not know of after a crash.",
        "calm",
        (P, "_on_assignment", "[persist(records.Accepted(assignment.raw))], None", "[], None"),
    ),
    _mutant(
        "outcome not journaled",
        "A provider commits to an outcome that it would not know of after a crash.",
        "calm",
        (P, "_make_commitment", "[persist(record), done,", "[done,"),
    ),
    _mutant(
        "failure not journaled",
        "A provider gives an assignment up and would not know it after a crash.",
        "crashes, late crash, storm",
        (P, "_fail", "[persist(records.Ended(e.assignment.id, e.failure.raw)), said,", "[said,"),
    ),
    _mutant(
        "receipt not journaled",
        "A provider issues a receipt that it would not know of after a crash.",
        "calm",
        (P, "_on_verdict", "[record, *self._grant_outputs(e)]", "[*self._grant_outputs(e)]"),
    ),
    _mutant(
        "cheque taken but not journaled",
        "A provider acknowledges a cheque that it would not hold after a crash.",
        "calm",
        (P, "_on_cheque", "return [record, *more], None", "return [*more], None"),
    ),
    _mutant(
        "a slot's number does not grow",
        "Two reservations of one slot have the same number.",
        "calm, swarm 6",
        (Slots, "hold", "= slot.n + 1,", "= slot.n,"),
    ),
    _mutant(
        "a reservation does not name the one before",
        "The chain of a slot's reservations is broken.",
        "calm",
        (Slots, "hold", "slot.n + 1, reservation, NONE", "slot.n + 1, NONE, NONE"),
    ),
    _mutant(
        "a lease never runs out",
        "A slot that a requester reserved and forgot is lost for ever.",
        "lost reservation",
        (Slots, "expired", "if s.holder and 0 <", "if False and 0 <"),
    ),
    _mutant(
        "a commitment does not free its slot",
        "A provider is full after as many runs as it has slots.",
        "stops, loss",
        (P, "_commit", "self._vacate(e, commitment)", "pass"),
    ),
    _mutant(
        "an abort does not free its slot",
        "A slot whose task was stopped is lost for ever.",
        "stops",
        (P, "_on_abort", "self._vacate(e, abort)", "pass"),
    ),
    _mutant(
        "the salt is a constant",
        "Anybody can try out what a commitment holds.",
        "calm",
        (verification, "salt_of", "blake3(assignment_id, key=secret).digest()", "bytes(32)"),
    ),
    _mutant(
        "openings for everybody",
        "A provider opens its commitment for whoever asks, and copiers copy.",
        "copiers",
        (P, "_on_reveal_request", " or e.requester != request.signer", ""),
        (verification, "nonce_commitment", "return blake3(nonce).digest()", "return bytes(32)"),
    ),
    _mutant(
        "commitments are told once",
        "A provider whose commitment got lost on its way does not repeat it.",
        "cut now and then",
        (P, "on_response", 'return [SetTimer(f"provider.tell:{e.token}", now.mono_ms + RETRY_MS)]', "return []"),
    ),
    _mutant(
        "credit without end",
        "A provider goes on working for who never pays.",
        "deadbeat",
        (Ledger, "refusal", "if 0 < unpaid >= credit:", "if False:"),
    ),
    _mutant(
        "the epoch of a cheque is ignored",
        "The cheques of a restored home look as if they said nothing new.",
        "moved home",
        (Ledger, "take_cheque", "key = payer, epoch", 'key = payer, b""'),
    ),
    _mutant(
        "a restored home goes on with its old sums",
        "The cheques of a new epoch promise again what the old one promised.",
        "moved home",
        (Jobs, "_restore_promise", "if cheque.epoch == self._post.author.epoch:", "if True:"),
    ),
    _mutant(
        "a cheque for too little",
        "A provider takes a cheque that does not reach its receipts.",
        "moved home, crashes, late crash",
        (Ledger, "take_cheque", "if countersigned > max(before, cumulative):", "if False:"),
        (Jobs, "_restore_promise", "self._ledger.restore_promise(cheque.body.payee, cheque.body.cumulative)", "pass"),
    ),
    _mutant(
        "a tie is an agreement",
        "Where as many say one thing as another, the first one wins.",
        "tie",
        (verification, "tally", "and not tied else", "else"),
    ),
    _mutant(
        "every receipt is held against the whole sum",
        "A cheque that reaches its own receipt counts, whatever else it was to cover.",
        "skimper",
        (Ledger, "take_cheque", "self._countersigned[key] = countersigned", "pass"),
    ),
    _mutant(
        "assignment not journaled",
        "A requester assigns and would not know it after a crash.",
        "calm",
        (H, "_assign", "persist(record),", ""),
    ),
    _mutant(
        "commitment not journaled",
        "A requester acknowledges a commitment that it would not know of after a crash.",
        "calm",
        (R, "on_request", "[held, acknowledge,", "[acknowledge,"),
    ),
    _mutant(
        "verdicts not journaled",
        "A requester could judge one commitment in two ways.",
        "calm",
        (J, "_pronounce", "return [persist(records.Judged(job.id, tuple(pairs))), *letters]", "return letters"),
    ),
    _mutant(
        "a majority overrules the referee",
        "Results that differ are counted, though a block could decide between them.",
        "referee",
        (J, "judge", "if job.policy.referee and not job.undecided", "if False"),
    ),
    _mutant(
        "a refutation not journaled",
        "A requester refutes a replica and would not know it after a crash.",
        "referee",
        (J, "_refute", "return [record, told,", "return [told,"),
    ),
    _mutant(
        "others are refuted with a liar",
        "Whoever committed to another state than a liar is convicted by its block.",
        "referee",
        (
            Disputes,
            "alike",
            "states_of(r)[step] == states_of(replica)[step]",
            "states_of(r)[step] != states_of(replica)[step]",
        ),
    ),
    _mutant(
        "cheque not journaled",
        "A requester pays and would not know it after a crash.",
        "calm",
        (S, "pay", "return [held, paid,", "return [paid,"),
    ),
    _mutant(
        "a cheque is written twice after a crash",
        "The journal's cheque is not taken for the one that was due.",
        "late crash, crashes",
        (Jobs, "_replay_end", 'replica.step("cheque")', "pass"),
    ),
    _mutant(
        "the sum of cheques starts anew after a crash",
        "Cheques after a restart promise less than those before.",
        "late crash",
        (Jobs, "_restore_promise", "self._ledger.restore_promise(cheque.body.payee, cheque.body.cumulative)", "pass"),
    ),
    _mutant(
        "the end of a task not journaled",
        "A task that failed is taken up again after a crash.",
        "stops",
        (D, "fail", "[persist(records.JobEnded(job.id, (), job.code, job.error)), *", "[*"),
    ),
    _mutant(
        "a lost replica not journaled",
        "A replica that was given up works again after a crash.",
        "loss, withholder, crashes",
        (D, "lose", "out.append(persist(records.ReplicaLost(job.id, replica.assignment.id, reason)))", "pass"),
    ),
    _mutant(
        "bans not journaled",
        "Who was banned is employed again after a crash.",
        "turncoat",
        (D, "ban", "return [persist(records.Banned(operator, reason))]", "return []"),
    ),
    _mutant(
        "replay skips receipts",
        "A restarted requester does not know which receipts it holds.",
        "calm",
        (Jobs, "replay", 'replica.step("receipt")', "pass"),
    ),
    _mutant(
        "replay skips failures",
        "A restarted provider does not know what it gave up.",
        "calm, stops, crashes, late crash",
        (P, "replay", "self._replay_end(self._engagements[record.assignment], self._post.open(record.by))", "pass"),
    ),
    _mutant(
        "the quorum is off by one",
        "One replica fewer than asked for decides.",
        "gang below quorum",
        (verification, "tally", "if size >= quorum", "if size >= quorum - 1"),
    ),
    _mutant(
        "operators count twice",
        "One operator with several keys is drawn, and counts, as if it were several.",
        "hydra",
        (verification, "tally", ", {})[operator] = None", ", {})[bytes([len(groups), id(opening) % 256])] = None"),
        (matching, "distinct", "if x.operator not in seen and", "if x not in chosen and"),
    ),
    _mutant(
        "replicas of one operator",
        "One operator's keys are drawn for the same task.",
        "hydra",
        (matching, "distinct", "if x.operator not in seen and", "if x not in chosen and"),
    ),
    _mutant(
        "a liar is no liar",
        "An outvoted provider is not banned.",
        "calm, liars",
        (Jobs, "take_verdict", 'self._reputation.ban(replica.operator, f"{how}', 'str(f"{how}'),
    ),
    _mutant(
        "a banned operator is employed again",
        "Bans are written down and not looked at.",
        "calm, liars",
        (Ladder, "ranked", "if demerits(x.operator) >= 0:", "if True:"),
        (H, "on_reservation", "if job.over or self._desk.reputation.demerits(replica.operator) < 0:", "if job.over:"),
    ),
    _mutant(
        "a true result is outvoted",
        "Who agreed is judged as if it had not.",
        "calm",
        (verification, "judge", "if answer_of(opening) != agreed:", "if answer_of(opening) == agreed:"),
    ),
    _mutant(
        "openings are not compared with commitments",
        "What a replica opens need not be what it committed to.",
        "turncoat",
        (
            J,
            "on_reveal",
            "if root != replica.commitment.body.root or answer.body.commitment != replica.commitment.id or fault:",
            "if fault:",
        ),
    ),
    _mutant(
        "who commits twice is let off",
        "Two commitments for one assignment are no reason for a ban.",
        "turncoat",
        (PeerCore, "on_request", "self._accuse(now, prove(first, document), document, found[1].operator)", "[]"),
    ),
    _mutant(
        "a commitment can be replaced",
        "The last commitment counts, not the first.",
        "turncoat",
        (
            R,
            "_on_second_commitment",
            "return [*self._desk.lose(now, job, replica, reason), *self._advance(now, job)]",
            "replica.commitment = document; return self._advance(now, job)",
        ),
    ),
    _mutant(
        "the budget is not looked at",
        "A task may cost more than its user allows.",
        "no budget",
        (H, "_engage", "over = job.committed_spend() + sum(ceilings) > job.budget", "over = False"),
    ),
    _mutant(
        "the highest price is not looked at",
        "Providers dearer than the user allows are set to work.",
        "cheap only",
        (Ladder, "ranked", "if price > price_max > 0:", "if False:"),
    ),
    _mutant(
        "claims are paid in full",
        "Who claims much more time than others is paid for it.",
        "stragglers",
        (pricing, "paid_us", "min(claimed_us, lowest_us * 5 // 4)", "claimed_us"),
    ),
    _mutant(
        "a stop stops nothing",
        "A user's wish to give a task up is ignored.",
        "stops",
        (R, "cancel", 'if job is None or job.state != "working":', "if True:"),
    ),
    _mutant(
        "cheques are sent once",
        "A cheque that got lost on its way is not sent again.",
        "loss, storm",
        (S, "on_cheque_taken", "return [SetTimer(", "return [][:0] and [SetTimer("),
    ),
    _mutant(
        "timers share a key",
        "What a replica waits for is forgotten when it waits for something else.",
        "loss, storm",
        (D, "retry_key", ':{step}"', ':gone"'),
    ),
    _mutant(
        "the deadline for commitments is not kept",
        "A replica that never commits is waited for without end.",
        "squatter",
        (H, "watch_commit_by", "if due else []", "if False else []"),
    ),
    _mutant(
        "outputs are fetched from one replica only",
        "A provider that keeps its data back fails the task.",
        "withholder",
        (S, "_fetch_later", "source.fetch_failures += 1", "pass"),
        (S, "_fetch_outputs", "for r in sources if r is not source", "for r in sources[:0]"),
    ),
    _mutant(
        "signatures are not verified",
        "Anybody can speak in anybody's name.",
        "forger",
        (codec, "check_signature", "if not verify(", "if False and verify("),
    ),
    _mutant(
        "offers that ran out are kept",
        "Books list who is long gone.",
        "offers run out",
        (Book, "expire", "while self._expiry and", "while False and"),
    ),
    _mutant(
        "offers are not renewed",
        "A provider disappears from all books after ten minutes.",
        "offers run out",
        (PeerCore, "_publish_offer", ', SetTimer("core.offer", now.mono_ms + OFFER_RENEW_MS)]', "]"),
    ),
    _mutant(
        "a tombstone forgets the order",
        "An offer that was taken back can be brought back by anybody who kept it.",
        "replayer",
        (Book, "_bury", "self._tombstones[signer] = order,", 'self._tombstones[signer] = (0, 0, b""),'),
    ),
    _mutant(
        "the older offer wins",
        "Books keep what was replaced.",
        "offers run out",
        (
            Book,
            "_is_news",
            "order_of(document) <= order_of(listing.offer)",
            "order_of(document) >= order_of(listing.offer)",
        ),
    ),
    _mutant(
        "no anti-entropy",
        "Books of newcomers and of healed partitions stay apart.",
        "joining, partition",
        (Sync, "_compare", "if peer in self._busy or shard is None:", "if True:"),
    ),
    _mutant(
        "old news is a fault",
        "Who passes on what we know already loses its standing.",
        "two faces",
        (
            Book,
            "judge",
            "not self._is_news(document):\n        return Ruling.IGNORE",
            "not self._is_news(document):\n        return Ruling.REJECT",
        ),
    ),
    _mutant(
        "everybody is graylisted",
        "Nothing of anybody is read who has not yet earned a score.",
        "calm",
        (Standing, "graylisted", "peer in self._low and", "self.score(peer) < 0.5 and"),
    ),
    _mutant(
        "slices without cheques",
        "A provider gives all outputs at once, whatever they cost and whoever asks.",
        "slices",
        (
            P,
            "_grant_outputs",
            "sum(sizes) if e.is_shown else slices.readable_bytes(sizes, price, e.paid, left)",
            "sum(sizes)",
        ),
    ),
    _mutant(
        "a part not journaled",
        "A requester pays for a part of the outputs and would not know it after a crash.",
        "slices",
        (S, "_pay_part", "return [held, paid,", "return [paid,"),
    ),
    _mutant(
        "the last cheque overtakes its part",
        "A receipt is paid for good though nobody knows that the part before has come.",
        "half paid",
        (S, "pay", "if replica.part_pending:", "if False:"),
    ),
    _mutant(
        "work at once is not bounded",
        "A provider sets everything to work that a requester asks for.",
        "hoarder",
        (Ledger, "refusal", "if at_work and at_work + price_ceiling > credit:", "if False:"),
    ),
    _mutant(
        "a lone claim is paid in full",
        "Nobody remembers what others were paid for the same work.",
        "padders",
        (Claims, "bound", "min(claimed_us, self._longest_us.get(work, claimed_us))", "claimed_us"),
    ),
    _mutant(
        "two receipts of one number pass",
        "Who forks its chain of receipts is not convicted.",
        "forkers",
        (Witness, "see", "if place is None:", "if place is None or isinstance(document.body, Receipt):"),
    ),
    _mutant(
        "outsiders compute what is for others",
        "The operators that a need names are not looked at.",
        "named",
        (Ladder, "ranked", "if name not in self._settled", 'if name not in (*self._settled, "operator")'),
    ),
    _mutant(
        "the referee is read backwards",
        "Whose block is as it should be is refuted.",
        "referee",
        (J, "_on_refereed", "if outcome.finding is Finding.WRONG:", "if outcome.finding is Finding.CLEAN:"),
    ),
    _mutant(
        "a straggler is its own backup",
        "Who is late is hired once more beside itself, and paid twice for one task.",
        "backups",
        (Job, "taken", "for r in self.team if lost or", "for r in self.team if not r.late and lost or not r.late and"),
    ),
    _mutant(
        "candidates of one peer",
        "What one peer of a shard shows is taken for the market.",
        "shards",
        (Candidates, "_ask", "chosen = order[:PEERS_ASKED]", "chosen = order[:1]"),
    ),
    _mutant(
        "what is to leave is not journaled",
        "A requester has value sent and would not know of it after a crash.",
        "settled",
        (Redeemer, "consider", "return [record, Emit(", "return [Emit("),
    ),
    _mutant(
        "what was on its way is forgotten",
        "A restarted requester sends again what has left, under another key.",
        "settled",
        (Redeemer, "replay", "self._open[cheque.body.payee] = Intent(cheque, record.amount)", "pass"),
        (Redeemer, "_book", "intent = self._open.pop(payee)", "intent = self._open.pop(payee, None)"),
    ),
    _mutant(
        "a command that failed is told another sum",
        "Meanwhile more was promised, and the same key is to move it all.",
        "settled",
        (
            Redeemer,
            "on_redeemed",
            "intent.attempts += 1",
            "intent.attempts += 1; intent.amount = self._ledger.account(payee).outstanding",
        ),
    ),
    _mutant(
        "quotes are never forgotten",
        "Who asks often enough for a price fills the memory.",
        "spammer",
        (Leasing, "on_probe", "while len(self._quotes) > QUOTES_MAX:", "while False:"),
    ),
)
