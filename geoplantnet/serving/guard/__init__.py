"""What stands between the network and the facades.

guard       the middleware: `Guard.around` an application    door       refused by size, method, spelling; bodies
gate        so many at once, so many waiting                  keys       API keys, their grants and quotas
access      private layers                                    log        a line a request
metrics     Prometheus                                        health     alive, and ready
refusal     no, in the shape of the route                     exchange   what is known of one request
"""

from geoplantnet.serving.guard.access import Access
from geoplantnet.serving.guard.exchange import Exchange, exchange_of
from geoplantnet.serving.guard.guard import Guard
from geoplantnet.serving.guard.health import Readiness
from geoplantnet.serving.guard.keys import Key, KeyRing
from geoplantnet.serving.guard.log import AccessLog
from geoplantnet.serving.guard.metrics import Metrics
from geoplantnet.serving.guard.refusal import Refused, problem

__all__ = ["Access", "AccessLog", "Exchange", "Guard", "Key", "KeyRing", "Metrics", "Readiness", "Refused", "exchange_of", "problem"]
