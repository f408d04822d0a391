"""A simulated payment processor, for testing the gateway without the contest's own.

It behaves like the processor of the contest *Rinha de Backend 2025*, according to its source
(`zanfranceschi/rinha-de-backend-2025-payment-processor`, `src/payment-processor/Endpoints.cs` @96cdd0ca), including
its traps:

1. The delay is read when a payment starts to run and slept *before* the failing flag is read and the row stored.
2. A hang-up stops neither: the payment is stored later all the same. Only a payment that still waits for a place
   (beyond 800 running) leaves its queue with its client, never having begun.
3. `GET /payments/{id}` is neither delayed nor failing, but takes one of the same 800 places for a moment.
4. `GET /payments/service-health` answers one call per five seconds, always with a 200. Two more calls wait for a later
   window; any further one gets a 429 at once.
5. An id that is stored gets a 422 for ever; its first amount and requestedAt are kept.
6. A summary with only one of `from` and `to` is a summary of everything.
7. `GET /payments/{id}` shows requestedAt without an offset and without a fraction's last zeros.

What differs: there is no database behind it (its millisecond or so is not simulated), a body with a missing member is a
400 instead of a payment of zeros, `GET /` tells the processor's name, and `GET /admin/payments` lists every row stored,
for tests and benchmarks: `[["<correlationId>", <amount in cents>, <requestedAt in ms since 1970>], …]` in the order of
storing.

Files: `wire` (bytes <-> values), `store` (rows and totals), `limits` (which requests run, wait or are refused), `api`
(request -> answer) and `behaviour` (the steps of a request and their timing) are pure. `server` talks to clients,
`__main__` starts everything.
"""
