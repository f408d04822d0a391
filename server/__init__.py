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

The words, where one is not the field's own:
- dispatcher: a process; its loop is dispatcher.py; its totals are a *member* of the Redis hash
- lane, table, journal: of a segment (`shm/__init__.py`): what was accepted, what is in care, what ended
- turn: what a dispatcher does between two waits
- heart: twice a second a process writes into its row that it lives, and a dispatcher until when it has handled what
  came; one that stops is killed
- sibling: another instance, as far as its ids count here
- neighbour: a dispatcher of this volume, as far as its totals are concerned
- header: what a member says of itself with each flush; goodbye: with its last one, if it stops in order
- life: counted up by each dispatcher that starts on a journal
- epoch: a purge, by its number; totals count from the last one
- fold: an ended payment's record goes into the sums of the journal's base, and the payment is forgotten
- absence: the whole instance was down, and its clients may have gone to a sibling; a sibling is absent, too, while it
  stops or lacks a web worker
- unverified: accepted before an absence: asked for everywhere before it is sent
- unknown: sent, and nobody knows whether it arrived: it belongs to that processor until that is known
"""
