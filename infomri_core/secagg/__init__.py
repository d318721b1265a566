"""Secure aggregation: the study centre learns the sum of the sites' weights and no summand.

SecAgg+ (Bonawitz et al. 2017; Bell et al. 2020) as values and two state machines without any
transport: ``Participant`` for a site, ``Collector`` for the centre. Studies run it where
the plan has ``[aggregation] secure = true`` (``fl_client/memory/masking.py``,
``fl_server/study/secure``).

1. Each site announces two fresh X25519 keys, signed by its vault's key; the centre relays them and
   cannot swap them.
2. Each site splits its mask key and a seed among its neighbours (Shamir), encrypted for each.
3. Each site sends its vector in the ring Z/2^64, plus its own mask, plus a mask shared with each
   neighbour, which cancels in the sum.
4. For the sites that delivered, neighbours give shares of the seed; for those that dropped out,
   shares of the mask key. They never give both for one site, nor answer twice.

Guarantee: where every site neighbours every other (``degree`` + 1 sites or fewer), a centre that
deviates in any way, together with c sites, learns of the honest sites' vectors nothing beyond the
sum over at least threshold - c of them, as long as 2 threshold > sites + c. With a sparser ring
the centre is assumed to relay all announcements to all.

Edge cases: of two sites' sum each knows the other's summand. A sum may still say much about one
site, which only differential privacy bounds. A site can spoil or poison the sum, since no one sees
what it adds: median, trimmed mean and Multi-Krum cannot be had with it.
"""

from infomri_core.secagg.announcement import Announcement
from infomri_core.secagg.collector import Collector
from infomri_core.secagg.participant import Participant, Unmasking

__all__ = ["Announcement", "Collector", "Participant", "Unmasking"]
