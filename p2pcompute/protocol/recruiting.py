"""Finding providers for a job: probe many in parallel, take the cheapest that answer.

Probes promise nothing; only the chosen are asked to reserve. Buyers that draw whom they probe, and act on what they
probe, do not herd.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import Final

from p2pcompute.protocol import matching
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.candidates import Candidates
from p2pcompute.protocol.job import Job, Round
from p2pcompute.protocol.machine import Effect, Emit, Now, SetTimer
from p2pcompute.protocol.matching import Listing
from p2pcompute.protocol.post import Post, Tag
from p2pcompute.protocol.reach import Reach, Reaches
from p2pcompute.protocol.reputation import Reputation
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument

PROBE_MS: Final = 1_500
"""How long a probed provider may take when too few others have answered: well below the 2 s that the first quote lives,
or a silent provider would let the quotes of the others run out."""
QUOTE_LEFT_MS: Final = 500
"""What a quote must still live for, so that the request to reserve finds it in force."""
SCAN_DOUBLINGS_MAX: Final = 8
"""After so many fruitless rounds a query sees the whole book."""
RTTS_MAX: Final = 16_384
"""Providers whose round trip is remembered; who answered longest ago is forgotten first."""
PULL_MS: Final = 2_500
"""For a search of the DHT, and candidates. Usually they are here much sooner, and end the wait."""
REST_MS: Final = 1_000
"""Pause before recruiting again when nobody could be had."""
AGAIN_MS: Final = 1
"""The same while there are others who were not asked yet, QUICK_ROUNDS_MAX times."""
QUICK_ROUNDS_MAX: Final = 4
DECLINES_MAX: Final = 3
"""Who quotes and then declines to reserve so often is not asked again for this job."""


class Recruiter:
    """Runs the rounds of recruiting. Outside the jobs it keeps only how quickly providers answered its probes, how many
    of them were free, and the last reservations."""

    def __init__(self, post: Post, book: Book, reputation: Reputation, candidates: Candidates) -> None:
        self._post, self._book, self._reputation = post, book, reputation
        self._candidates = candidates
        self._rtt_ms: dict[bytes, int] = {}
        self._seen: deque[bytes] = deque(maxlen=limits.SIGHTINGS_MAX)
        self._reaches = Reaches()

    def look_beyond(self, now: Now, job: Job) -> list[Effect]:
        """Pull candidates where our own book does not hold them all; the job rests until they are here, or are not."""
        if not self._candidates.is_due(now, job.id, job.needs, job.dry_rounds):
            return []
        wait = SetTimer(f"job.rest:{job.name}", now.mono_ms + PULL_MS)
        return [wait, *self._candidates.pull(now, job.id, job.needs, self._reach(job).window)]

    def begin(self, now: Now, job: Job) -> list[Effect]:
        """Probe the best providers not yet engaged, cheapest first. Leaves `job.round` empty when there is none."""
        wanted = job.lacking
        known = self._best(now, job, awake=True, lost=True)
        if len(known) < wanted and job.busy:  # all were asked: some may be free by now
            job.busy.clear()
            known = self._best(now, job, awake=True, lost=True)
        if len(known) < wanted:  # with too few others, those who went silent are asked all the same
            known = self._best(now, job, awake=False, lost=True)
        if not known:  # a crash is no crime: with nobody else left, those who were lost get another try
            known = self._best(now, job, awake=False, lost=False)
        if not known or not _of_one_class(job, known) or len(job.team) + wanted > limits.REPLICAS_MAX:
            return []
        known = _of_one_class(job, known)
        reach, all_known = self._reach(job), len(known)
        if all_known > reach.window:
            all_known, known = limits.SCAN_MAX, known[: reach.window]
        chosen = _drawn(known, reach.probes(wanted), job.id + job.dry_rounds.to_bytes(4, "big"))
        job.more = all_known > len(chosen)
        job.round = Round(
            wanted,
            {},
            [],
            now.mono_ms,
            now.mono_ms + limits.QUOTE_WAIT_MS,
            now.mono_ms + PROBE_MS,
            all_known,
            len(chosen),
        )
        out: list[Effect] = [
            Emit("job.probing", {"job": job.id, "task": job.manifest.name, "peers": [x.peer for x in chosen]}),
            SetTimer(f"job.round:{job.name}", job.round.hurry_mono_ms),
        ]
        m = job.manifest
        for listing in chosen:
            body = d.Probe(
                self._post.delegation,
                job.needs.engine,
                m.memory_bytes_max,
                m.device_ms_max,
                job.traffic_bytes(),
                tuple(self._seen),
                job.demand.id if job.demand is not None and job.proposals.get(listing.peer) is listing else b"",
            )
            probe = self._post.write(now, body, lifetime_ms=PROBE_MS)
            job.round.asked[probe.id] = listing
            tag = Tag("requester", "probe", job.id + probe.id, listing.peer)
            addresses = listing.offer.body.addresses
            out.append(self._post.ask(listing.peer, probe.raw, tag, timeout_ms=PROBE_MS, addresses=addresses))
        return out

    def _best(self, now: Now, job: Job, *, awake: bool, lost: bool) -> list[Listing]:
        """The window of those one could probe, and one more if there is: `awake` leaves out who went silent a short
        while ago, `lost` whose replica of this job was lost. Every fruitless round looks at twice as many listings.
        """
        fickle = [operator for operator, count in job.declines.items() if count >= DECLINES_MAX]
        ranked = self._book.ranked(
            job.needs,
            seed=job.id,
            demerits=self._reputation.demerits,
            rtt=self._rtt_ms.get,
            scan=limits.SCAN_MAX << min(job.dry_rounds, SCAN_DOUBLINGS_MAX),
        )
        proposed = matching.rank(
            list(job.proposals.values()),
            job.needs,
            seed=job.id,
            demerits=self._reputation.demerits,
            rtt=self._rtt_ms.get,
        )
        others = (
            x
            for x in itertools.chain(proposed, ranked)
            if x.peer != self._post.env.me and not (awake and self._reputation.rests(x.operator, now.mono_ms))
        )
        taken = [*fickle, *job.busy, *job.taken(lost=lost)]
        return matching.distinct(others, self._reach(job).window + 1, taken=taken)

    def _reach(self, job: Job) -> Reach:
        return self._reaches.of(job.needs.engine, job.needs.model)

    def show(self, reservation: AnyDocument) -> None:
        """A reservation given to us: the next probes show it, since two requesters that deal with one provider look in
        the same part of the market, and so meet at others there."""
        self._seen.append(reservation.raw)

    def take_quote(self, now: Now, job: Job, tag: Tag, answer: AnyDocument | None) -> None:
        """A probed provider answered, or did not (None)."""
        probe_id = tag.subject[16:]
        if job.round is None or probe_id not in job.round.asked:
            return
        listing = job.round.asked.pop(probe_id)
        if answer is None:
            job.round.silent += 1
            self._reputation.slow(listing.operator, now.mono_ms)
        elif not isinstance(answer.body, d.Quote):
            job.busy[listing.operator] = None
        elif answer.body.probe == probe_id:
            self._measure(listing.peer, now.mono_ms - job.round.begin_mono_ms)
            if _dearer(answer.body, listing.offer.body):
                self._reputation.slow(listing.operator, now.mono_ms)
            elif not job.needs.rtt_ms_max or self._rtt_ms[listing.peer] <= job.needs.rtt_ms_max:
                job.round.quotes.append((listing, answer))

    def _measure(self, peer: bytes, rtt_ms: int) -> None:
        """A probe was answered after so long. The shortest counts: dialling and waiting only lengthen it."""
        self._rtt_ms[peer] = min(rtt_ms, self._rtt_ms.pop(peer, rtt_ms))
        while len(self._rtt_ms) > RTTS_MAX:
            del self._rtt_ms[next(iter(self._rtt_ms))]

    def close(self, now: Now, job: Job) -> list[tuple[Listing, AnyDocument]] | None:
        """The chosen quotes, cheapest first, when the round is over; None while it is worth waiting."""
        r = job.round
        if r is None:
            return None
        hurried = now.mono_ms >= r.hurry_mono_ms and len({x.operator for x, _ in r.quotes}) >= r.wanted
        if r.asked and not hurried and now.mono_ms < r.end_mono_ms:
            return None
        job.round = None
        if now.mono_ms >= r.end_mono_ms:
            for listing in r.asked.values():
                self._reputation.slow(listing.operator, now.mono_ms)
        quotes = {x.peer: quote for x, quote in r.quotes}
        terms = [(x.offer.body, quote.body) for x, quote in r.quotes]
        prices = matching.expected_prices(job.needs, terms, job.manifest.device_ms_max, job.traffic_bytes())
        price_of = {x.peer: price for (x, _), price in zip(r.quotes, prices, strict=True)}
        self._reach(job).learn(r.probes - r.silent - len(r.asked), len(quotes), r.wanted, r.known)

        def order(x: Listing) -> tuple[int, int, bytes]:
            return price_of[x.peer], self._reputation.demerits(x.operator), matching.rendezvous(job.id, x.peer)

        job.spare = [(x, quotes[x.peer]) for x in sorted((x for x, _ in r.quotes), key=order)]
        return self._pick(job, r.wanted)

    def _pick(self, job: Job, count: int) -> list[tuple[Listing, AnyDocument]]:
        """The cheapest quotes that are left, of operators and networks that are not engaged yet."""
        quotes = {x.peer: quote for x, quote in job.spare}
        chosen = matching.distinct([x for x, _ in job.spare], count, taken=job.taken(lost=False))
        picked = {x.peer for x in chosen}
        job.spare = [(x, quote) for x, quote in job.spare if x.peer not in picked]
        return [(x, quotes[x.peer]) for x in chosen]

    def next_best(self, now: Now, job: Job, count: int) -> list[tuple[Listing, AnyDocument]]:
        """Instead of who took other work meanwhile: as many others of the last round, while their quotes hold."""
        job.spare = [(x, quote) for x, quote in job.spare if now.wall_ms + QUOTE_LEFT_MS < quote.expires_at]
        return self._pick(job, count)

    def declined(self, job: Job, operator: bytes) -> None:
        """Somebody quoted and then had no room: others were quicker."""
        job.busy[operator] = None
        self._reach(job).widen(limits.SCAN_MAX)

    def pause_ms(self, job: Job) -> int:
        """From a fruitless round to the next: none while there are others who were not asked yet."""
        others = job.more or not self._candidates.has_all
        return AGAIN_MS if others and job.dry_rounds <= QUICK_ROUNDS_MAX else REST_MS

    def why_waiting(self, job: Job) -> str:
        """As `explain`, looked up ever more rarely while a job waits, since that reads the whole book."""
        if job.dry_rounds & (job.dry_rounds - 1) == 0:
            job.why_waiting = self.explain(job)
        return job.why_waiting

    def explain(self, job: Job) -> str:
        """Why nobody (else) serves this job, in one sentence."""
        others = [x for x in self._book.listings() if x.peer != self._post.env.me]
        text = matching.explain(others, job.needs, demerits=self._reputation.demerits, rtt=self._rtt_ms.get)
        if job.demand is None:
            return text
        return f"{text}; its demand rests in the books of others, {len(job.proposals)} proposals came"


def _of_one_class(job: Job, known: list[Listing]) -> list[Listing]:
    """Where results are compared by their values: those whose numbers are of one class, that of the replicas at work or
    else of the first."""
    if not job.manifest.is_tolerant:
        return known
    wanted = job.numeric_class or known[0].offer.body.numeric_class
    return [x for x in known if x.offer.body.numeric_class == wanted]


def _drawn(window: list[Listing], count: int, seed: bytes) -> list[Listing]:
    """So many of these by lot, the cheapest first."""
    lots = sorted(window, key=lambda x: matching.rendezvous(seed, x.peer))
    drawn = {x.peer for x in lots[:count]}
    return [x for x in window if x.peer in drawn]


def _dearer(quote: d.Quote, offer: d.Offer) -> bool:
    """A quote above the offer that drew the probe counts as none: the highest price was held against the offer."""
    return (
        quote.price_per_device_s > offer.price_per_device_s
        or quote.price_per_gb > offer.price_per_gb
        or quote.price_minimum > offer.price_minimum
    )
