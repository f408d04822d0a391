"""One instance of the payment gateway: a supervisor, its web workers and its dispatchers.

Where to find what; which file may import which is in `tests/test_tidy.py`.

The instance and its processes:
    __main__       from the settings to the exit status
    config         the settings
    endpoints      the addresses among them
    log            lines to stderr, without waiting for their reader
    listeners      the sockets, which outlive every worker
    supervisor     forks, watches, restarts, stops
    children       who is pending, alive, dead
    child          what every child does first and last
    worker         a web worker's process
    dispatcher_process  a dispatcher's process
    retire         `python -m server.retire`: the end of one that never comes back

The door, in a web worker:
    shortcut       the usual payment in one step
    app            every other request
    payments       a body becomes a payment or a refusal
    window         a query becomes the window of a summary
    answers        what is answered
    problems       what is answered when something is wrong
    gate           the payment is committed to its lane
    generations    the ids seen lately
    lookup         where a payment stands

Paying, in a dispatcher:
    intake         from the lanes
    custody        into table and journal, in step with what happens
    rejections     what one processor has rejected waits for the other
    dispatcher     what is done next
    pacing         how fast
    yielding       who else gets the core in between
    quota          whether the container was frozen meanwhile
    routing        to which processor
    circuit        what is known of one
    outages        what the log is told of them
    attempt        what is sent, and what each answer means
    unknowns       asks what became of those without an answer
    siblings       ids that another instance has accepted
    presence       when all ids of a sibling count here
    latest         what one of them accepted last
    copies         which of two instances pays what both have
    verification   asks, after an absence, what was paid meanwhile
    outside        what a dispatcher reaches beyond shared memory

The way to a processor:
    processors     its three calls
    health         who asks for its health, and when
    resolver       where a processor's name leads now
    transport      requests over connections that are kept
    connection     one of them

Totals:
    totals         the totals of a window
    totals_fields  what they are counted from: names and bytes
    ledger         one member's settled payments, by minute, second and millisecond
    following      a ledger that follows a journal
    local_totals   a web worker's reader of them without Redis
    shared_totals  a web worker's reader of them with Redis
    publisher      keeps Redis equal to a journal
    purges         where a journal begins to count anew
    redis_totals   what Redis is asked
    redis_scripts  what Redis runs
    redis_client   one connection to it
    totals_header  what a member says of itself there
    totals_rows    what Redis says of a member
    neighbours     the journals of this volume, read beside Redis
    hearts         what a dispatcher's row and lock say of it

For all of them:
    clock          what time it is
    volume         what is seen of other instances
    notation       how money, times and ids are written
    errors         what can go wrong

The words that this program uses in a sense of its own:
- dispatcher: a process, and its main loop (dispatcher.py)
- lane, table, journal: parts of a segment (`shm/__init__.py`): for payments just accepted, being paid, and ended
- door: a web worker, where payments come in; doorbell: the eventfd by which it wakes a dispatcher
- turn: what a dispatcher does between two waits
- row: a process's counters in the segment; heart: the heartbeat there, stored twice a second. A dispatcher's says until
  when it has handled what reached it. A process whose heart stops is killed
- sibling: another instance on this volume: an id that it has accepted is not paid here as well
- member: a dispatcher in the Redis hash: it publishes its own totals there, and a summary adds up all members
- neighbour: a dispatcher on this volume, own or a sibling's, whose journal is read beside Redis for a summary
- header: what a member says of itself with each flush; goodbye: a word in its last header, if it stops in order
- life: one dispatcher's time on a journal; its number is counted up at each start
- epoch: the number of a purge; totals count from the last one
- to fold: to add the oldest journal records to the sums in the journal's base; those payments are then forgotten
- absence: a time in which an instance was down, so that its clients may have gone to a sibling; a sibling is absent,
  too, while it stops or lacks a web worker
- unverified: accepted before an absence: looked up at siblings and processors before it is sent
- unknown: sent, and nobody knows whether it arrived: it belongs to that processor until that is known
"""
