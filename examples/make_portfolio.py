#!/usr/bin/env python3
"""Writes the option portfolio of the pricing demo (examples/portfolio.ndjson) to standard output.

The numbers come from a fixed seed, so the file can be made again and compared. Each line is one European option;
`curve` is the affinity key of its discount curve, `tag` the tag text of its tasks.
"""

import json
import math
import random
import sys

TRADES = 2400
# currency: (share of the book, typical spot, short rate, curves)
BOOK = {
    "USD": (0.38, 180.0, 0.0420, ["USD-SOFR", "USD-FEDFUNDS", "USD-TERM3M"]),
    "EUR": (0.27, 95.0, 0.0230, ["EUR-ESTR", "EUR-EURIBOR3M", "EUR-EURIBOR6M"]),
    "GBP": (0.15, 620.0, 0.0400, ["GBP-SONIA", "GBP-GILT"]),
    "JPY": (0.12, 3400.0, 0.0080, ["JPY-TONA", "JPY-TIBOR"]),
    "CHF": (0.08, 110.0, 0.0060, ["CHF-SARON", "CHF-EIDG"]),
}
DESKS = ["equity-flow", "equity-exotics", "index", "structured", "hedge"]
RISKS = ["risk:CR01,PV01", "risk:PV01", "risk:DELTA,GAMMA", "risk:DELTA,VEGA,PV01", "risk:VEGA", "risk:CR01"]


def main() -> None:
    chance = random.Random(20261124).random  # random() is the one method with the same numbers in every version

    def pick(items):
        return items[int(chance() * len(items))]

    def pick_currency() -> str:
        left = chance()
        for currency, row in BOOK.items():
            left -= row[0]
            if left < 0:
                return currency
        return "USD"

    for number in range(1, TRADES + 1):
        currency = pick_currency()
        _, level, short, curves = BOOK[currency]
        spot = round(level * math.exp(1.2 * (chance() - 0.5)), 2)
        years = pick([0.083, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0])
        vol = round(0.10 + 0.45 * chance() * chance(), 4)
        # strikes within about one standard deviation, as a traded book has them
        moneyness = (2.0 * chance() - 1.0) * vol * math.sqrt(years)
        trade = {
            "trade": f"OPT-{currency}-{number:05d}",
            "type": pick(["call", "call", "put"]),
            "spot": spot,
            "strike": round(spot * math.exp(moneyness), 2),
            "rate": round(short + 0.004 * (1.0 - math.exp(-years / 4.0)) + 0.001 * (chance() - 0.5), 5),
            "vol": vol,
            "years": years,
            "currency": currency,
            "curve": f"curve={pick(curves)}",
            "tag": f"currency:{currency},{pick(RISKS)},desk:{pick(DESKS)}",
        }
        sys.stdout.write(json.dumps(trade, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
