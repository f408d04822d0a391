"""A simulated payment processor: what the gateway is tried against when the contest's own is not at hand.

It behaves as the processor of the contest *Rinha de Backend 2025* does, read from its source
(`zanfranceschi/rinha-de-backend-2025-payment-processor`, `src/payment-processor/Endpoints.cs` @96cdd0ca), traps
included:

1. The delay is read when a payment starts to run and slept *before* the failing flag is read and the row stored.
2. A hang-up stops neither: a payment given up on is stored later all the same. Only one still waiting for a place
   (beyond 800 running) leaves its queue with its client, never having begun.
3. `GET /payments/{id}` knows neither delay nor failure, but takes one of the same 800 places for a moment.
4. `GET /payments/service-health` lets one call through per five seconds, always with a 200; two more hang until a later
   window is theirs, any further one is a 429 at once.
5. An id stored once is a 422 for ever, its first amount and requestedAt kept.
6. A summary with only one of `from` and `to` is a summary of everything.
7. `GET /payments/{id}` shows requestedAt without an offset and without a fraction's last zeros.

What differs: there is no database behind it (its millisecond or so is not simulated), a body with a missing member is a
400 instead of a payment of zeros, `GET /` says who answers, and `GET /admin/payments` lists every row stored, for tests
and benchmarks: `[["<correlationId>", <amount in cents>, <requestedAt in ms since 1970>], …]` in the order of storing.

Files: `wire` (bytes <-> values), `store` (rows and totals), `limits` (who may run, who waits), `api` (request ->
answer) and `behaviour` (what happens in which order, and when) are pure; `server` does the talking, `__main__` the
starting.
"""
