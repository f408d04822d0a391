"""One instance of the payment gateway: a supervisor, its web workers and its dispatchers.

Where to find what, in an order to read it in; which file may import which is in `tests/test_tidy.py`.

A web worker, from request to lane:
    shortcut           the usual payment, and HAProxy's health check, in one step
    http_connection    a client's connection: uvicorn's protocol, hardened
    app                every other request
    payments           a body becomes a payment or a refusal; the gate's interface
    window             a query becomes the window of a summary
    answers            what is answered
    problems           what is answered when something is wrong
    gate               commits the payment to its lane
    generations        the ids seen lately
    lookup             where a payment stands

Paying, in a dispatcher:
    intake             takes payments from the lanes
    custody            keeps table and journal in step with what happens to each payment
    forgotten          ids forgotten a moment ago, of which a copy may still come
    dispatcher         the main loop: what is done next
    sender             makes the attempts, and does what follows from each answer
    pacing             how fast payments are sent
    yielding           gives way in between: to other processes, or to what the event loop has to do
    quota              how often the container was frozen for using up its CPU quota
    routing            which processor a payment goes to
    circuit            whether a processor takes payments, and how many at once
    latency            how long a processor's next answer is expected to take
    outages            what is logged of processors that fail
    attempt            what is sent to a processor, and what each of its answers means
    rejections         payments that one processor has rejected, waiting for the other
    unknowns           asks what became of payments without a clear answer
    outside            all that a dispatcher reaches beyond its instance's memory

The way to a processor:
    processors         its three calls: pay, show, health
    health             who asks for its health, and when
    transport          requests over kept connections
    connection         one of those connections
    resolver           where a processor's name leads now

From the journal to a summary (docs/summaries.md):
    following          reads a journal into a ledger, record by record
    ledger             one member's settled payments, by minute, second and millisecond
    totals_fields      the fields that a ledger consists of: names and bytes
    publisher          keeps the Redis hash equal to a journal
    roster_sync        keeps the rosters of the segment and the hash equal
    purges             takes up purges: where a journal begins to count anew
    totals_header      what a member says of itself in the hash
    redis_totals       the calls to the hash
    redis_scripts      the scripts that Redis runs for them
    redis_client       one connection to Redis
    published          what the hash has of each member
    totals             the totals of a window, counted from all members' fields
    shared_totals      a web worker's reader of totals with Redis
    volume_members     the members on this volume, whose journals are read beside Redis
    liveness           whether a dispatcher is at work, by its lock and its row
    local_totals       a web worker's reader of totals without Redis

One id, two instances. HAProxy moves a dead worker's ids to another instance, and back when it lives again. These files
see to it that an id which has been at both is paid once. Skip them at the first reading; nothing else depends on how
they work.
    volume             what can be seen of other instances
    siblings           ids that another instance has accepted
    presence           when all ids that a sibling remembers count here
    latest             the ids that a sibling accepted last
    copies             which of two instances pays what both have
    verification       asks, after an absence, what was paid meanwhile

The instance and its processes:
    __main__           from the settings to the exit status
    config             the settings
    addresses          the addresses among them
    log                lines to stderr, without waiting for their reader
    listeners          the sockets, which outlive every worker
    supervisor         forks, watches, restarts, stops
    children           who is pending, alive, dead
    shm_files          notices when the files in /dev/shm are removed
    child              what every child does first and last
    worker             a web worker's process
    dispatcher_process a dispatcher's process: builds its parts and connects them
    retire             `python -m server.retire`: the end of an instance that never comes back

For all of them:
    clock              what time it is
    notation           how money, times and ids are written
    errors             what can go wrong

The words that this program uses in a sense of its own:
- instance: a supervisor, its web workers and dispatchers, and the segment (shared memory) that they all map
- sibling: another instance on this volume (the same /dev/shm): an id that it has accepted is not paid here as well
- dispatcher: a process that pays, and its main loop (dispatcher.py); called a member where its totals are meant
- member: a dispatcher of any instance: it publishes its totals in the hash (in Redis); a summary adds up all members
- lane, table, journal: parts of a segment (`shm/__init__.py`): for payments just accepted, being paid, and ended
- doorbell: the eventfd by which a web worker wakes a dispatcher
- turn: what a dispatcher does between two waits
- row: a process's counters in the segment
- heartbeat: when a process last showed that it runs, stored in its row twice a second; a dispatcher's is the time up to
  which it has handled all that had reached it. Older than STUCK_S: the supervisor kills it. A dispatcher's older than
  1 s: summaries are refused, as a processor's answer may lie unread
- life: one dispatcher's time on a journal; its number is counted up at each start. An instance's: its supervisor's time
- copy: a payment under an id that was accepted before, here or at a sibling; a conflict if its amount is another
- sure no: what shows that an attempt has not stored the payment and never will, such as a 503 (`server/attempt.py`)
- unknown: sent, and nobody knows whether it arrived: it belongs to that processor until that is known
- probe: a payment that is sent to a processor in an outage, to see whether the outage is over
- to remember (of a dispatcher or instance): to have an id in a table, whether its payment has ended or not
- to fold: to add the oldest journal records to the sums in the journal's base; those payments are then forgotten
- header (of a member, unless it says of a segment): what it says of itself with each flush; goodbye: a word in the last
  one, if it stops in order
- epoch: the number of a purge; totals count from the last one
- absence: a time in which an instance was down, so that its clients may have gone to a sibling; a sibling is absent,
  too, while it stops or lacks a web worker
- unverified: accepted before an absence: looked up at siblings and processors before it is sent
"""
